"""The `portalkeeper` command: a client of the services' published HTTP APIs.

It consumes their answers, decides nothing, and emits lines for people or, with `--json`, for
programs. Only `run` and `demo` start anything, through `deploy`.
"""
