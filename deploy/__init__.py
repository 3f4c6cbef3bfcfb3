"""How Portalkeeper runs: embedded on one machine, in containers, or on an organization's servers.

`run` supervises everything on one machine, `prepare` makes topics, roles and schemas anywhere, and
`embedded` holds a real Kafka and a real PostgreSQL for machines that have neither.
"""
