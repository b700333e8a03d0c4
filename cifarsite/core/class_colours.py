"""Colours of classes: by their place among the classes, never by their names, which may be anything.

``static/site.css`` has a class ``of-0`` to ``of-29``, each with a colour and one of three shapes of
the dot; all stand out from every background in both themes.
"""

COLOURS = 30


def colour_of(position: int) -> str:
    """What stands behind ``of-`` for the class at a place: '0' to '29', then again from '0'."""
    return str(position % COLOURS)
