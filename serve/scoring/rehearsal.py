"""A request that nobody sent, before the first real one: that then waits for no code to load."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from freshrank.actors.alerts import AlertKind, Severity
from freshrank.actors.errors import bounded
from freshrank.actors.features.service import Candidates
from freshrank.serve.scoring.feature_reader import StoredRow
from freshrank.serve.scoring.row_copies import RowCopies
from freshrank.serve.scoring.service import ScoringService

_logger = logging.getLogger(__name__)

# A key that an entity of texts may have, and one of integers.
_NOBODY = "0"

RehearsalStep: TypeAlias = Literal["lookups", "inputs", "scores"]
"""What a request goes through, in this order."""


@dataclass(frozen=True, slots=True)
class RehearsalFailure:
    """Why a replica could not score a candidate of its own."""

    step: RehearsalStep
    error: str


async def rehearse(service: ScoringService) -> RehearsalFailure | None:
    """Score a candidate of empty texts and zeros, without rows; it is neither logged nor counted.

    Compiled kernels are loaded into a process when they are first called, on the event loop, which
    answers nothing else meanwhile: this takes tenths of a second in all. A failure is an alert, and
    keeps no replica from its requests: a model may refuse these values only.
    """
    features, clock = service.pipeline.features, service.connectors.clock
    columns: Candidates = {name: [kind()] for name, kind in features.context.items()}
    step: RehearsalStep = "lookups"
    try:
        rows = RowCopies(_NoRows(), clock, keep_ms=0)
        key, lookups, found = await rows.of_request(features, _NOBODY, columns)
        step = "inputs"
        candidates = {**columns, **service.weights(found, columns)}
        inputs = features.inputs(lookups, found.values, key, candidates, clock.now_ms())
        step = "scores"
        service.model.score(inputs)
    except Exception as error:  # a model of the pipeline's own may raise anything
        _logger.exception("the rehearsal of a request failed")
        failure = RehearsalFailure(step, bounded(f"{type(error).__name__}: {error}"))
        _report(service, failure)
        return failure
    return None


def _report(service: ScoringService, failure: RehearsalFailure) -> None:
    """As an alert: requests may fail as well, and the first of them waits for kernels to load."""
    message = f"the {failure.step} of a candidate without values failed: {failure.error}"
    details = {"step": failure.step, "error": failure.error}
    service.alerts.emit(AlertKind.REHEARSAL_FAILED, Severity.ERROR, message, details)


class _NoRows:
    """An online store that is empty; implements `RowReader`."""

    async def read(self, keys: Sequence[bytes]) -> list[StoredRow]:
        """See `RowReader`."""
        return [StoredRow(None, "new")] * len(keys)
