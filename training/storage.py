"""What an outage of the store of files is called, whichever store it is."""


class StorageAway(OSError):
    """The store of files does not answer, or refuses: nobody's file is at fault; it passes."""
