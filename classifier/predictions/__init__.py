"""Photos meet a model: inference, explanations, provenance."""
