"""HTTP under `/review/v1`: campaigns, reviews, decisions, questions, quality and coverage.

Instants are RFC 3339 in UTC. Lists take `limit` and answer `next_cursor`, null at the end.
A review is

    {"review_id", "campaign_id": null for a micro-review, "kind": "campaign" | "micro",
     "worker", "worker_name", "reviewer": worker id, null for the queue of review:admin,
     "reviewer_name", "reviewer_rule": "supervisor" | "next_above" | "portal_administrator"
         | "organization_administrator" | "review_admin_queue",
     "status": "open" (undecided lines) | "decided" (removals under way) | "closed",
     "opened_at", "due_at", "closed_at", "read_at": when its reviewer first looked, "reason",
     "lines": int, "undecided": int}

and one that is read by itself has, in the place of the number, its lines:

    {"line_id", "portal", "tin", "function", "grade": "roster" | "api" | "person" | "assumed",
     "since", "authorized_by": {"kind", "reference", "by"} | null, "duties": [..],
     "operation_id", "status": "undecided" | "kept" | "removal_decided" | "removal_ordered"
         | "removal_confirmed" | "moot",
     "decision": "keep" | "remove" | null, "decided_by", "decided_at", "reason", "detail",
     "risks": [..], "advice": what was recommended to whoever decided,
     "recommendation": {"advice": "keep" | "remove" | "ask", "rule", "reason"}: of now,
     "keep_needs_reason": whether policy asks for one,
     "changed": [what is otherwise than when it was opened, in words],
     "login": {"status", "last_login_at", "last_login_grade", "last_login_source", "lapses_at"},
     "order": the removal under way {"operation_id", "kind", "status", "deadline", "claimed_by"},
     "ordered_at", "removal_due_at", "overdue_at", "removed_at", "removed_grade",
     "decidable": whether it can be decided on now, "expired_at",
     "questions": [{"question_id", "asked", "asked_by", "asked_at", "words", "advice", "answer",
         "answered_by", "answered_at"}]}

whose access, authorization, duties and risks are those of now, until the review is closed; beside
them "gained": [{"portal", "tin", "function", "since"}], what the holder was given since the review
was opened and is not asked about in it.

A campaign is

    {"campaign_id", "title", "status": "opening" | "open" | "closed", "opened_by", "opened_at",
     "due_at", "closed_at", "policy_version", "reviews", "reviews_closed", "reviewers", "lines",
     "undecided", "kept", "removal_decided", "removal_ordered", "removal_confirmed", "moot"}
"""
