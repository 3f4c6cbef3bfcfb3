"""Pure decisions of the gateway: which events are acceptable, and what each role may do."""
