"""Errors as answers: an HTTP status, and a body with a field and a reason."""

from __future__ import annotations

from freshrank.actors.errors import FreshrankError, RequestError, StaleParameters, Unavailable
from freshrank.serve.api.responses import ErrorAnswer, Problem


def status_of(error: FreshrankError) -> int:
    """The HTTP status: 4xx where the caller has to change the request, 503 where a retry may help.

    >>> status_of(RequestError("show", "must be positive")), status_of(Unavailable("kafka", "full"))
    (422, 503)
    """
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, StaleParameters):
        return 409
    return 503 if isinstance(error, Unavailable) else 500


def answer_of(error: FreshrankError) -> ErrorAnswer:
    """The body of an error. The field of an error that is not the caller's is the failed part.

    >>> answer_of(Unavailable("kafka", "queue full")).error
    Problem(field='kafka', reason='queue full')
    """
    if isinstance(error, RequestError):
        return problem(error.field, error.reason)
    if isinstance(error, StaleParameters):
        return problem("min_version", str(error))
    if isinstance(error, Unavailable):
        return problem(error.part, error.reason)
    return problem("server", str(error))


def problem(field: str, reason: str) -> ErrorAnswer:
    """The body of an error."""
    return ErrorAnswer(Problem(field, reason))
