"""From a model file to calibrated predictions and verdicts."""
