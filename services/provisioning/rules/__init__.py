"""Pure decisions: facts and an instant in, decisions out. No I/O, no clock, no randomness."""
