"""Upkeep: sweeper, retention, orphaned files, backup, database copy, demo data."""
