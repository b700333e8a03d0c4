"""Reports of models: made, compared, shipped."""
