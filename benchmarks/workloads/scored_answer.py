"""The answers to POST /v1/score: the parts that the benches read, and which came when."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from freshrank.actors.messages import Version

LEAST_ANSWERS = 10
"""Answers after the last fault that are some: on a busy machine it takes a while to have them."""

_NO_VERSION = Version(0, 0)  # before that of any weights


class _Model(msgspec.Struct):
    version: str | None


class _Features(msgspec.Struct):
    offset: int | None


class ScoredAnswer(msgspec.Struct):
    """Which weights and which features a score came from.

    >>> body = b'{"request_id": "r", "model": {"version": "1.9"}, "features": {"offset": 41}}'
    >>> answer = ScoredAnswer.decode(body)
    >>> str(answer.version), answer.features_offset
    ('1.9', 41)
    """

    request_id: str
    model: _Model
    features: _Features

    @classmethod
    def decode(cls, body: bytes) -> ScoredAnswer:
        """Decode the body of an answer with status 200. Raises msgspec.ValidationError."""
        return msgspec.json.decode(body, type=cls)

    @property
    def version(self) -> Version:
        """The version of the weights; 0.0, before every other, for an answer without weights."""
        return _NO_VERSION if self.model.version is None else Version.parse(self.model.version)

    @property
    def features_offset(self) -> int | None:
        """The offset of the user's newest event in the features; None: there is none."""
        return self.features.offset


@dataclass(slots=True)
class AnswerLog:
    """The answers to scores, in the order of their requests."""

    count: int = 0
    back: int = 0
    """Answers by older weights than those of an earlier answer, or by none after some."""
    during_faults: set[str] = field(default_factory=set)
    """Ids of the requests that were answered while faults were injected."""
    after_faults: set[str] = field(default_factory=set)
    """Ids of the requests that were answered after the last fault was mended."""
    faults_over: bool = False
    _newest: Version = _NO_VERSION

    def add(self, status: int, body: bytes) -> None:
        """Add an answer; those without status 200 do not count."""
        if status != 200:
            return
        answer = ScoredAnswer.decode(body)
        self.count += 1
        self.back += answer.version < self._newest
        self._newest = max(answer.version, self._newest)
        (self.after_faults if self.faults_over else self.during_faults).add(answer.request_id)

    async def enough_after_faults(self) -> bool:
        """Whether some requests were answered after the last fault was mended."""
        return len(self.after_faults) >= LEAST_ANSWERS
