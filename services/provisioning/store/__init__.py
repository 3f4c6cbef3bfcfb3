"""All SQL of provisioning: `lifecycle` decides and commands, `views` answers questions.

Lock order, kept by every writer: idempotency lock; offset rows (the consumer takes them); worker
rows by (organization, worker); portal rows by (organization, portal); the directory head; outbox
keys. Timelines, directory version and effective state are read only after the worker locks.
"""
