"""A request that nobody sent, before the first real one: that then waits for no code to load."""

from __future__ import annotations

import logging

from freshrank.actors.features.service import Candidates
from freshrank.serve.scoring.service import ScoringService

_logger = logging.getLogger(__name__)

# A key that an entity of texts may have, and one of integers.
_NOBODY = "0"


def rehearse(service: ScoringService) -> None:
    """Score a candidate of empty texts and zeros, without rows; it is neither logged nor counted.

    Compiled kernels are loaded into a process when they are first called, on the event loop, which
    answers nothing else meanwhile: this takes tenths of a second in all.
    """
    features, now_ms = service.pipeline.features, service.connectors.clock.now_ms()
    candidates: Candidates = {name: [kind()] for name, kind in features.context.items()}
    try:
        if service.retriever is not None:
            candidates = {**candidates, **service.retriever.weigh([], candidates, now_ms)}
        lookups = [*features.lookups(_NOBODY, candidates)]
        leading = [lookup for lookup in lookups if lookup.leads]
        if leading:
            absent = [None for lookup in leading for _ in lookup.keys]
            lookups += features.following(leading, absent, _NOBODY, candidates)
        rows = [None for lookup in lookups for _ in lookup.keys]
        service.model.score(features.inputs(lookups, rows, _NOBODY, candidates, now_ms))
    except Exception:  # a model of the pipeline's own may raise anything, for these values only
        _logger.exception("the rehearsal of a request failed")
