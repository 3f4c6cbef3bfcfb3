"""Where HR systems and people come in.

It consumes signed HR events and HR's lists over HTTP, what provisioning publishes of workers and
directory, and the other services' HTTP APIs for its console. It decides whether an event is
acceptable, what a list comes to, and who may sign in. It emits canonical events on
`hr.worker-events.v1`, dead letters for what it rejects, and sessions and commands on
`admin.activity-events.v1`.
"""
