"""Errors that a reader can put right."""


class UserError(Exception):
    """Something the person at the keyboard can put right: the message names it and the remedy."""


class TrainingError(RuntimeError):
    """Training cannot go on: the message says at which epoch and what to try."""
