"""Requests that the OpenAPI document suggests, right and wrong ones, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err
from schemathesis.python import asgi
from starlette.types import ASGIApp

# Violations that are told in full; the others are counted.
_MOST_TOLD = 20


@dataclass
class Asked:
    """What came of asking."""

    cases: int = 0
    server_errors: int = 0
    violations: int = 0
    """Answers that the document does not describe, wrong requests that were done, and right ones
    that were refused."""
    told: list[str] = field(default_factory=list)
    """Of the first of both, what was asked and what is wrong with the answer."""

    def ask(self, case: Case[Any]) -> None:
        """Send one request, and hold its answer against the document."""
        self.cases += 1
        answer = case.call()
        if answer.status_code >= 500:
            self.server_errors += 1
            self._tell(case, f"{answer.status_code} {answer.text[:200]}")
        try:
            case.validate_response(answer)
        except FailureGroup as failures:
            self.violations += 1
            self._tell(case, "; ".join(str(one) for one in failures.exceptions))

    def _tell(self, case: Case[Any], problem: str) -> None:
        if len(self.told) < _MOST_TOLD:
            self.told.append(f"{problem}\n  {case.as_curl_command()[:500]}")


def ask_all(app: ASGIApp, cases: int, number: int) -> Asked:
    """Ask `app` about `cases` requests made from its own document, those of seed `number`.

    The application is started and stopped. Raises what is wrong with the document itself.
    """
    asked = Asked()
    try:
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        operations = []
        for found in schema.get_all_operations():
            if isinstance(found, Err):
                raise found.err()
            operations.append(found.ok())
        plain = [one for one in operations if not _takes_anything(one)]
        for operation in plain:  # there is one such request
            _ask_one(asked, operation, GenerationMode.POSITIVE, 1, number)
        kinds = [
            (operation, mode)
            for operation in operations
            if operation not in plain
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        ]
        for (operation, mode), share in zip(
            kinds, _shares(cases - len(plain), len(kinds)), strict=True
        ):
            _ask_one(asked, operation, mode, share, number)
    finally:
        asgi.shutdown_lifespans()
    return asked


def _takes_anything(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    return bool(operation.body) or bool(operation.path_parameters)


def _shares(whole: int, parts: int) -> Sequence[int]:
    """Equal but for the rest.

    >>> _shares(8, 3)
    [3, 3, 2]
    """
    return [whole // parts + (part < whole % parts) for part in range(parts)]


def _ask_one(
    asked: Asked,
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
    def ask(case: Case[Any]) -> None:
        asked.ask(case)

    ask()
