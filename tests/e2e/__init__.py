"""A package, so that the system and the browser that its modules share end with the last one."""
