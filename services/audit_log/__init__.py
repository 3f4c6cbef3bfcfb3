"""Consumes every topic that holds facts, and what could not be applied of them.

Decides nothing but the order: each record becomes one entry of an append-only Merkle log.
Emits signed checkpoints, with which anybody can prove later what the log held and when.
"""
