"""Dataset versions, evaluation sets, sheets of images."""
