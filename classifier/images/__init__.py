"""Bytes become a picture: checked, decoded in a sandbox, cropped."""
