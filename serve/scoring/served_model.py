"""The model that a replica scores with: its weights, their age, and waits for newer ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from freshrank.actors.clock import Clock
from freshrank.actors.errors import RequestError, StaleParameters
from freshrank.actors.messages import Floats, Inputs, SourceOffsets, Version
from freshrank.actors.metrics.decayed_means import DecayedMeans
from freshrank.actors.parameters.explanation import ExplainingScorer, Explanation
from freshrank.actors.parameters.uncertainty import WeightSampler
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.responses import ModelAnswer, ModelInfo
from freshrank.serve.experiments.exploration import Exploration
from freshrank.serve.experiments.explored_list import OF_WEIGHTS, seed_of

_logger = logging.getLogger(__name__)

# In explained rows, one a second: importance is that of the last minutes.
_HALF_LIFE = 60
# The share of the time that explanations for it may take: the event loop scores, too.
_MOST_TIME = 0.001
# Inputs in a status, which is posted each second.
_MOST_IMPORTANT = 20


class FollowedWeights(Protocol):
    """Weights that follow the learner's newest version (`actors.parameters.follower.Follower`)."""

    @property
    def version(self) -> Version | None:
        """None before the first snapshot."""
        ...

    @property
    def error(self) -> str | None:
        """The error of the last long poll; None after a success."""
        ...

    @property
    def applied(self) -> Mapping[int, SourceOffsets]:
        """By partition: how far its examples are contained in the weights."""
        ...

    @property
    def newest_event_ms(self) -> int:
        """The newest event time contained in the weights."""
        ...

    @property
    def differs(self) -> bool:
        """Whether the weights are known to differ from the learner's."""
        ...

    def lag_ms(self) -> int | None:
        """How long, at most, newer weights had existed when the last answer was applied."""
        ...

    def age_ms(self) -> int | None:
        """Milliseconds since the weights were published."""
        ...

    def silence_ms(self) -> int | None:
        """Milliseconds since the learner last answered."""
        ...

    def status(self) -> dict[str, JsonValue]:
        """The metrics of this copy."""
        ...

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        """Return once the weights are at least `version`; raises StaleParameters."""
        ...

    async def run(self) -> None:
        """Follow the learner for ever."""
        ...


class ScoringModel(Protocol):
    """Weights to score by, at present."""

    @property
    def score(self) -> Callable[[Inputs], Floats]:
        """See `Scorer`."""
        ...

    @property
    def explain(self) -> Callable[[Inputs], Iterator[Explanation]]:
        """See `ExplainingScorer`."""
        ...

    @property
    def sample(self) -> WeightSampler | None:
        """None: how uncertain the weights are is not known."""
        ...

    def info(self) -> ModelInfo:
        """Version and age of the weights."""
        ...


def sampled_scores(
    model: ScoringModel, inputs: Inputs, exploration: Exploration | None, request_id: str
) -> Floats | None:
    """float32[1 + s, n]: the scores, and those by weights that are drawn for a request.

    None: no list is made, or its exploration needs the scores alone.
    """
    sampling = None if exploration is None else exploration.sampling
    if sampling is None:
        return None
    assert model.sample is not None  # checked when the pipeline was declared
    return model.sample(inputs, sampling, seed_of(request_id, OF_WEIGHTS))


class _Pinned:
    """Weights of one version."""

    sample = None

    def __init__(self, version: str, scorer: ExplainingScorer) -> None:
        self.score, self.explain = scorer.score, scorer.explain
        self._version = version

    def info(self) -> ModelInfo:
        """See `ScoringModel`."""
        return ModelInfo(self._version, None)


class ServedModel:
    """A scorer, what keeps its weights new, and which inputs matter in its scores.

    Parameters
    ----------
    max_start_lag_ms
        The weights are ready once their lag has been this small, in milliseconds. From then on a
        learner that is away does not make them unready: their age is in each answer.
    pinned
        By version: further weights, which stay as they are.
    sample
        Predicts by weights drawn around those that serve; None: no list needs it.
    """

    def __init__(
        self,
        scorer: ExplainingScorer,
        weights: FollowedWeights,
        clock: Clock,
        max_start_lag_ms: int,
        pinned: Mapping[str, ExplainingScorer] | None = None,
        sample: WeightSampler | None = None,
    ) -> None:
        self.score = scorer.score
        self.explain = scorer.explain
        self.sample = sample
        self.weights = weights
        self._clock = clock
        self._max_start_lag_ms = max_start_lag_ms
        self._pinned = {version: _Pinned(version, one) for version, one in (pinned or {}).items()}
        self._was_close = False
        self.newest: Inputs | None = None
        """The input rows that were scored last; `importance` explains one of them."""
        self._contributions = DecayedMeans(_HALF_LIFE)
        self._explained = 0
        self._explain_from_s = 0.0
        self.explain_error: str | None = None
        """Why the last row could not be explained; None after a success."""

    def importance(self) -> dict[str, float]:
        """By input, how much it matters at present: the mean size of its contributions.

        A call explains one row of those that were scored last, if there are any new ones, and if
        explanations would not take more than a thousandth of the time. Of the inputs that matter
        most, the first of all first.
        """
        now_s, inputs = self._clock.monotonic(), self.newest
        if inputs is not None and len(inputs) and now_s >= self._explain_from_s:
            self.newest = None
            row = self._explained % len(inputs)
            self._explained += 1
            self._observe(Inputs(inputs.dense[row : row + 1], inputs.ids[row : row + 1]))
            took_s = self._clock.monotonic() - now_s
            self._explain_from_s = now_s + took_s / _MOST_TIME
        return self._contributions.largest(_MOST_IMPORTANT)

    def _observe(self, inputs: Inputs) -> None:
        try:
            (explanation,) = self.explain(inputs)
        except Exception as error:  # a model of the pipeline's own may raise anything
            if self.explain_error is None:
                _logger.exception("a score cannot be explained")
            self.explain_error = f"{type(error).__name__}: {error}"
            return
        self._contributions.add(explanation.sizes())
        self.explain_error = None

    def at(self, pinned: str | None) -> ScoringModel:
        """The weights of a version; None: those that follow the learner.

        Raises RequestError (409) where they are not held.
        """
        # Pinned versions first: a state that started empty counts its versions from 1.0 again.
        found: ScoringModel | None = self if pinned is None else self._pinned.get(pinned)
        if found is None and pinned == self.info().version:
            return self
        if found is None:
            held = ", ".join(self._pinned) or "none"
            reason = f"weights of version {pinned} are not held: arms are pinned to {held}"
            raise RequestError("pinned", reason, status=409)
        return found

    def info(self) -> ModelInfo:
        """Version and age of the weights."""
        version = self.weights.version
        return ModelInfo(None if version is None else str(version), self.weights.age_ms())

    def describe(self) -> ModelAnswer:
        """The answer to GET /v1/model."""
        weights, info = self.weights, self.info()
        return ModelAnswer(
            version=info.version,
            age_ms=info.age_ms,
            newest_event_ms=weights.newest_event_ms or None,
            learner_silent_ms=weights.silence_ms(),
            learner_error=weights.error,
            pinned=list(self._pinned),
            applied={str(number): dict(offsets) for number, offsets in weights.applied.items()},
        )

    def not_ready(self) -> str | None:
        """Why the weights cannot be answered with; None when they can."""
        weights, lag_ms = self.weights, self.weights.lag_ms()
        if weights.version is None or lag_ms is None:
            return weights.error or "no weights have arrived yet"
        if weights.differs:
            return f"the weights differ from the learner's and are fetched again ({weights.error})"
        if not self._was_close and lag_ms > self._max_start_lag_ms:
            return f"{lag_ms} ms behind the learner, at most {self._max_start_lag_ms} at the start"
        self._was_close = True
        return None

    async def wait_until(
        self, version: Version | None, max_age_ms: int | None, timeout_s: float
    ) -> None:
        """Return once the weights are as a request wants them; None: it does not mind.

        Raises StaleParameters and RequestError (409).
        """
        if version is not None:
            await self.weights.wait_for(version, timeout_s)
        if max_age_ms is not None:
            await self.wait_for_age(max_age_ms, timeout_s)

    async def wait_for_age(self, max_age_ms: int, timeout_s: float) -> None:
        """Return once the weights are at most `max_age_ms` old; raises RequestError (409)."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            age_ms, held = self.weights.age_ms(), self.weights.version
            if age_ms is not None and age_ms <= max_age_ms:
                return
            following = Version(0, 0) if held is None else Version(held.epoch, held.step + 1)
            remaining_s = max(0.0, deadline - self._clock.monotonic())
            try:
                await self.weights.wait_for(following, remaining_s)
            except StaleParameters as error:
                known = (
                    "no weights have arrived"
                    if age_ms is None
                    else f"the newest are {age_ms} ms old"
                )
                reason = f"at most {max_age_ms} ms are wanted, {known}, after {timeout_s:.3g} s"
                raise RequestError("max_model_age_ms", reason, status=409) from error
