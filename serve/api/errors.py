"""Errors as answers: the status that says what an error means to the caller, field and reason."""

from __future__ import annotations

from freshrank.actors.errors import FreshrankError, RequestError, StaleParameters, Unavailable
from freshrank.serve.api.responses import ErrorAnswer, Problem


def status_of(error: FreshrankError) -> int:
    """The HTTP status: 4xx where the caller has to mend or lower something, 503 where time may.

    >>> status_of(RequestError("show", "must be positive")), status_of(Unavailable("kafka", "full"))
    (422, 503)
    """
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, StaleParameters):
        return 409
    return 503 if isinstance(error, Unavailable) else 500


def answer_of(error: FreshrankError) -> ErrorAnswer:
    """Field and reason; for a fault of ours, the part that failed stands for the field."""
    if isinstance(error, RequestError):
        return problem(error.field, error.reason)
    if isinstance(error, StaleParameters):
        return problem("min_version", str(error))
    if isinstance(error, Unavailable):
        return problem(error.part, error.reason)
    return problem("server", str(error))


def problem(field: str, reason: str) -> ErrorAnswer:
    """The body of an answer that says what is wrong."""
    return ErrorAnswer(Problem(field, reason))
