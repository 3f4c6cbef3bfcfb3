"""Makes people confirm or remove access, each quarter and whenever a worker's role changes.

It consumes `portal.worker-state.v1` and `portal.directory-events.v1`. It decides who must review
which effective entitlement by when, and what has become of each decision; it never decides for a
reviewer. It emits `review.events.v1`, whose removals `provisioning` carries out.
"""
