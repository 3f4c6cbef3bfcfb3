"""All SQL of the review scheduler, a module per thing that is locked, and `views` for reading.

Every writer locks in one order: the idempotency key; offset rows; directory objects sorted by
(organization, kind, id); worker rows sorted by (organization, worker), missing ones inserted in the
same order; campaign rows sorted by id; timers and outbox keys last. Reviews and lines have no locks
of their own: they belong to the worker whose access they are about, and are written only under that
worker's lock. A timer is written only under the lock of what it is about: the organization's
directory object for calendars, the worker for reviews, lines and looking again. The lock of a
worker owns the outbox key organization/worker, the lock of a campaign owns its key.
"""
