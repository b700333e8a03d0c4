"""Stored photos: history, search, export, files, and who may open them."""
