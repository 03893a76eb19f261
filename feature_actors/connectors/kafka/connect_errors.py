"""Why a client could not connect: aiokafka logs it, and raises an error that does not say it."""

from __future__ import annotations

import logging
from collections import deque
from contextvars import ContextVar

# Errors that are kept: a connection that stays broken has the same one again and again.
_KEPT = 8

_ERRORS: ContextVar[deque[Exception]] = ContextVar("_ERRORS")


def collect() -> deque[Exception]:
    """Take the errors of the connections that the present task opens from now on, newest last."""
    errors: deque[Exception] = deque(maxlen=_KEPT)
    _ERRORS.set(errors)
    return errors


def _keep(record: logging.LogRecord) -> bool:
    """Keep the error that a record is about; the record goes on as it is."""
    args = record.args if isinstance(record.args, tuple) else ()
    for error in args[-1:]:
        if isinstance(error, Exception):
            _ERRORS.get(deque()).append(error)
    return True


logging.getLogger("aiokafka").addFilter(_keep)
