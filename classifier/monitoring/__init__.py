"""How the models do: drift, readiness, metrics, shadow deployment, reclassification."""
