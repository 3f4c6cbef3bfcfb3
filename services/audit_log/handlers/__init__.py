"""What is done with the log: append, follow, export, hold, erase, prune, succeed, back up."""
