"""The parts of an answer to POST /v1/score that the benches read."""

from __future__ import annotations

import msgspec

from freshrank.actors.messages import Version


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
        return Version(0, 0) if self.model.version is None else Version.parse(self.model.version)

    @property
    def features_offset(self) -> int | None:
        """The offset of the user's newest event in the features; None: there is none."""
        return self.features.offset
