"""Metrics, reports, intervals, reliability, explanations."""
