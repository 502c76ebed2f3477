"""Mainspring: the back end of an AI startup as one program."""

__version__ = "0.1.0"
