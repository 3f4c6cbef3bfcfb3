"""What a transparency log and its verifier compute alike: hashes, proofs, tiles, notes, leaves.

Everything here is pure, so that whoever distrusts the server can recompute the log without it.
"""
