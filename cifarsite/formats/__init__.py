"""Formats of dates where Django's own do not fit into a sentence."""
