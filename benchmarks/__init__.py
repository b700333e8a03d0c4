"""Measurements, each beside a peer in the same run: see docs/performance.md."""
