"""What both apps stand on: leases, wake-ups, storage, append-only rows, metrics; no domain."""
