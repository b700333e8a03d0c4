"""Corrections by people and their review."""
