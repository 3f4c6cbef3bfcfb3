"""Lock, load, decide by the rules, write state and events: one transaction each."""
