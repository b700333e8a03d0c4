"""The store of files does not answer at the first tries of each kind of work."""

from cifarsite.settings import *  # noqa: F403

STORAGES["default"] = {"BACKEND": "cifarsite.tests.faults.stumbling_files.StumblingFiles"}  # noqa: F405
