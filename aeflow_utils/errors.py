"""Errors that a reader can put right."""

from __future__ import annotations

from logging import Logger


class UserError(Exception):
    """Something the person at the keyboard can put right: the message names it and the remedy."""


class TrainingError(RuntimeError):
    """Training cannot go on: the message says at which epoch and what to try."""


_told: set[object] = set()


def warn_once(log: Logger, about: object, text: str) -> None:
    """Log a warning, once in this process for what it is `about`."""
    if about not in _told:
        _told.add(about)
        log.warning(text)
