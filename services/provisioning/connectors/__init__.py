"""Ways to fulfil an operation, one file each; a person working a queue is the main one.

An operation on a portal whose connector is `manual` waits in the work list until a person says what
they did there; that needs no code here.
"""
