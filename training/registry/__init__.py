"""Model versions: files, promotion and its gate, smoke test, nearest images."""
