"""The one error of starting and preparing: a sentence for the person who asked for it."""


class CannotStart(Exception):
    """Why something could not be started or prepared, and what to do about it."""
