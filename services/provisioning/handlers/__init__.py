"""Thin handlers: lock, load, decide, write state and outbox in one transaction."""
