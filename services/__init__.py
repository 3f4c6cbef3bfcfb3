"""The services: each owns its schema and meets the others only in topics and published HTTP APIs."""
