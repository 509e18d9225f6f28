"""Errors that a reader can put right, and how a command is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from logging import Logger

STOPPED = "stopped: finished runs are kept, run the same command to go on"
STOPPED_STATUS = 130


class UserError(Exception):
    """Something the person at the keyboard can put right: the message names it and the remedy."""


class TrainingError(RuntimeError):
    """Training cannot go on: the message says at which epoch and what to try."""


def on_stop(handler: Callable[[int, FrameType | None], object]) -> None:
    """Who is called by Ctrl-C and SIGTERM; a signal that the shell has this process ignore is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Say so, and end this process as it stands."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(STOPPED_STATUS)


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt; amid an import, which may swallow or change it, `end_at_once`."""
    above = frame
    while above:
        if above.f_code.co_filename.startswith("<frozen importlib"):
            end_at_once(number, frame)
        above = above.f_back
    raise KeyboardInterrupt


_told: set[object] = set()


def warn_once(log: Logger, about: object, text: str) -> None:
    """Log a warning, once in this process for what it is `about`."""
    if about not in _told:
        _told.add(about)
        log.warning(text)
