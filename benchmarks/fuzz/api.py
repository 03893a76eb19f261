"""Valid and invalid requests generated from the OpenAPI document, and checks of the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.types import ASGIApp

# Problems that are described; the others are only counted.
_MOST_DESCRIBED = 20

# The reasons of an event time that cannot be right at present.
_OF_TIME = re.compile("ahead of the log: [0-9]+ is|, not in milliseconds: ")

# What is wrong in a request is refused within its answer: a candidate, or one of several requests.
_REFUSED_WITHIN = re.compile(r'"skipped":|"error":{')

# The routes whose 503 is the answer "No": nothing has failed.
_STATES = ("/healthz", "/readyz")

# The endpoint answers to its own names only, and schemathesis uses another.
_HOST = {"Host": "localhost"}

# Seconds: a request may ask to wait for 10 (`timeout_ms`), after which it is answered.
_PATIENCE_S = 60.0


@dataclass
class ApiFuzzResult:
    """Counts of requests and of wrong answers."""

    cases: int = 0
    server_errors: int = 0
    violations: int = 0
    """Answers that the document does not describe, invalid requests that were accepted, and valid
    ones that were refused."""
    problems: list[str] = field(default_factory=list)
    """The first server errors and violations, each with the request as a curl command."""

    def request(self, case: Case[Any]) -> None:
        """Send one request and check its answer against the document."""
        self.cases += 1
        answer = case.call(headers=_HOST, timeout=_PATIENCE_S)
        answers_no = answer.status_code == 503 and case.operation.path in _STATES
        if answer.status_code >= 500 and not answers_no:
            self.server_errors += 1
            self._describe(case, f"{answer.status_code} {answer.text[:200]}")
        try:
            # The document does not say what time it is, so it cannot say which times are wrong.
            of_time = answer.status_code == 422 and _OF_TIME.search(answer.text) is not None
            within = answer.status_code == 200 and _REFUSED_WITHIN.search(answer.text) is not None
            case.validate_response(
                answer,
                excluded_checks=[
                    *([positive_data_acceptance] if of_time else []),
                    *([not_a_server_error] if answers_no else []),
                    *([negative_data_rejection] if within else []),
                ],
            )
        except FailureGroup as failures:
            self.violations += 1
            self._describe(case, "; ".join(str(failure) for failure in failures.exceptions))

    def _describe(self, case: Case[Any], problem: str) -> None:
        if len(self.problems) < _MOST_DESCRIBED:
            self.problems.append(f"{problem}\n  {case.as_curl_command()[:500]}")


def fuzz_api(app: ASGIApp, cases: int, number: int) -> ApiFuzzResult:
    """Send `app` about `cases` requests generated from its own document, with seed `number`.

    Starts and stops the application. Raises errors of the document itself.
    """
    result = ApiFuzzResult()
    try:
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=_HOST)
        operations = []
        for found in schema.get_all_operations():
            if isinstance(found, Err):
                raise found.err()
            operations.append(found.ok())
        constant = [operation for operation in operations if not _has_input(operation)]
        for operation in constant:  # there is only one request of each
            _fuzz_operation(result, operation, GenerationMode.POSITIVE, 1, number)
        kinds = [
            (operation, mode)
            for operation in operations
            if operation not in constant
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        ]
        shares = _shares(cases - len(constant), len(kinds))
        for (operation, mode), share in zip(kinds, shares, strict=True):
            _fuzz_operation(result, operation, mode, share, number)
    finally:
        asgi.shutdown_lifespans()
    return result


def _has_input(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    return bool(operation.body) or bool(operation.path_parameters)


def _shares(whole: int, parts: int) -> Sequence[int]:
    """Split `whole` into `parts` shares that differ by at most one.

    >>> _shares(8, 3)
    [3, 3, 2]
    """
    return [whole // parts + (part < whole % parts) for part in range(parts)]


def _fuzz_operation(
    result: ApiFuzzResult,
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    cases: int,
    number: int,
) -> None:
    @seed(number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def request(case: Case[Any]) -> None:
        result.request(case)

    request()
