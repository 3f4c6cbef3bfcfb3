"""Makes people confirm or remove access, each quarter and whenever a worker's role changes.

It consumes `portal.worker-state.v1` and `portal.directory-events.v1`. It decides who must review
which effective entitlement by when, who is told when nobody answers, and what has become of each
decision; in a reviewer's place it does only what policy says for no answer. It emits
`review.events.v1`, whose removals `provisioning` carries out.
"""
