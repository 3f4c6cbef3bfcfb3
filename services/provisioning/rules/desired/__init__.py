"""Desired access: who must have what on which portal, from job duties, contracts and training."""
