"""What the log is made of and what follows from it, purely: no input, no output."""
