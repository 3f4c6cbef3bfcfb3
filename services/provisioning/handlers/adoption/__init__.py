"""Taking over the logins that existed before: preview, answers, apply, and the same sheet back.

`meaning` says what a line comes to, `saying` tells it to people and to topics, `commands` does it,
and `exporting` writes what is known in the shape in which it is read.
"""
