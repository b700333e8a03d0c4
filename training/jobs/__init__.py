"""Training jobs: their life, processes, schedule, webhooks, resources."""
