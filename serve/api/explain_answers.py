"""The answer to POST /v1/explain."""

from __future__ import annotations

from typing import Literal

import msgspec

from freshrank.serve.api.responses import (
    CandidateRows,
    FeatureInfo,
    Json,
    ModelInfo,
    SkippedCandidate,
)


class Contribution(msgspec.Struct):
    """What one input of the model adds to the logit, or output, of a candidate."""

    input: str
    """The name of the feature, match, cross or field of the context."""
    kind: Literal["number", "id"]
    """Whether the model takes it as a number, or looks up weights by its ids."""
    value: Json
    """Of a feature as GET /v1/features/{entity}/{id} shows it, of the context as the candidate has
    it; of a match the weight of the candidate's own value in the bag, of a cross both values."""
    contribution: float


class CandidateExplanation(msgspec.Struct, kw_only=True):
    """How the score of a candidate comes about: base, contributions and residual add up to it."""

    score: float
    """As POST /v1/score gives it."""
    logit: float | msgspec.UnsetType = msgspec.UNSET
    """Of a score that is a probability: its log-odds, which base, contributions and residual are
    together."""
    output: float | msgspec.UnsetType = msgspec.UNSET
    """Of another score: what base, contributions and residual are together. Of a regression the
    score itself, in the unit of the target; of a margin the margin."""
    base: float
    """The logit, or output, where every number is at its mean and there is no id."""
    residual: float
    """What base and contributions leave over: rounding, unless a model of the pipeline's own has
    to be explained by differences and is too rough for them."""
    contributions: list[Contribution]
    """The largest first, whatever its sign."""
    of_class: str | msgspec.UnsetType = msgspec.UNSET
    """Of a model of several classes: the likeliest one, whose probability and logit these are."""


class ExplainAnswer(msgspec.Struct):
    """The answer to POST /v1/explain."""

    model: ModelInfo
    features: FeatureInfo
    candidates: list[CandidateExplanation | None]
    """In the order of the request; None for those that were skipped."""
    candidate_rows: dict[str, CandidateRows] | msgspec.UnsetType = msgspec.UNSET
    """As in the answer to POST /v1/score."""
    skipped: list[SkippedCandidate] | msgspec.UnsetType = msgspec.UNSET
    """The candidates that are wrong; absent where all are right."""
