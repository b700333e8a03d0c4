import atexit
import gc

# Python's own 700 has the collector look through everything that a start imports, again and again:
# a fifth of the time until a process serves.
gc.set_threshold(5_000)
# At its end a process would look through all of it three times more, for half a second.
atexit.register(gc.freeze)
