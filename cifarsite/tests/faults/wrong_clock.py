"""Runs a Python command whose Django has a clock that is wrong by so many seconds.

python -m cifarsite.tests.faults.wrong_clock SECONDS [-W WARNING] (-m MODULE | SCRIPT) [ARGUMENT...]
"""

import runpy
import sys
from datetime import timedelta

from django.utils import timezone


def main() -> None:
    seconds, *words = sys.argv[1:]
    right = timezone.now
    # Every time that the site writes or compares comes from here.
    timezone.now = lambda: right() + timedelta(seconds=int(seconds))
    if words[0] == "-W":
        words = words[2:]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, "")
        runpy.run_path(words[0], run_name="__main__")


main()
