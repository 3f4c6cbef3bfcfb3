"""Consumes HR events and review decisions.

Decides who must have what on which portal, orders it, and sees it through to a confirmation.
Emits access events, directory events and `portal.worker-state.v1`.
"""
