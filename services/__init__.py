"""The services: each owns its schema; they meet only in topics and published HTTP APIs."""
