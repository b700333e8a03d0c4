"""Model packages: written, calibrated anew, tried."""
