"""HTTP under `/review/v1`: campaigns, reviews and decisions.

Instants are RFC 3339 in UTC. Lists take `limit` and answer `next_cursor`, null at the end.
A review is

    {"review_id", "campaign_id": null for a micro-review, "kind": "campaign" | "micro",
     "worker", "worker_name", "reviewer": worker id, null for the queue of review:admin,
     "reviewer_rule": "supervisor" | "next_above" | "portal_administrator"
         | "organization_administrator" | "review_admin_queue",
     "status": "open" (undecided lines) | "decided" (removals under way) | "closed",
     "opened_at", "due_at", "closed_at", "reason", "lines": int, "undecided": int}

and one that is read by itself has, in the place of the number, its lines:

    {"line_id", "portal", "tin", "function", "grade": "roster" | "api" | "person" | "assumed",
     "since", "authorized_by": {"kind", "reference", "by"} | null, "duties": [..],
     "operation_id", "status": "undecided" | "kept" | "removal_decided" | "removal_ordered"
         | "removal_confirmed" | "moot",
     "decision": "keep" | "remove" | null, "decided_by", "decided_at", "reason", "detail"}

A campaign is

    {"campaign_id", "title", "status": "opening" | "open" | "closed", "opened_by", "opened_at",
     "due_at", "closed_at", "policy_version", "reviews", "reviews_closed", "reviewers", "lines",
     "undecided", "kept", "removal_decided", "removal_ordered", "removal_confirmed", "moot"}
"""
