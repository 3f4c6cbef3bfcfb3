"""Importing a portal's list of users: preview, apply, and what follows for accounts and work.

`meaning` reads a list against what is known, `showing` and `saying` tell it to people and to
topics, and `commands` does it.
"""
