"""Ways in: single photos, archives, chunked uploads, batches."""
