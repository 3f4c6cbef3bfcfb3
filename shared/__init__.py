"""What every service shares: the contracts they meet in, and the machinery that keeps them correct.

Nothing here imports a service. Contracts live in `shared.contracts`, the batch consumer in
`shared.kafka`, the transactional outbox in `shared.outbox`.
"""
