"""All SQL of provisioning, a module per thing; `views` answers questions.

Lock order, kept by every writer: idempotency lock; an outage's row, where one ends; offset rows
(the consumer takes them); worker rows by (organization, worker); portal rows by (organization,
portal); the directory head; a plan's row, or an enrolment's phases and then chores; causes under
the brake; outbox keys. Timelines, directory version and
effective state are read only after the worker locks.

`LATERAL (... OFFSET 0)` in these modules is one index lookup per wanted row, whatever the planner
believes of a table that has grown since anybody analyzed it: it would read all of it for a batch.
"""
