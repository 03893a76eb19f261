"""Impressions: the records of served candidates, which replicas write and joiners read.

An impression carries the rows that the model scored, so that training uses the same inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Bools, Floats, Inputs, Ints


class ExploredItems(msgspec.Struct, frozen=True, array_like=True):
    """How the ``n`` items of a list that explores were drawn, each of those that were left."""

    propensities: bytes
    """float32[n]: the probability by which each was drawn, given those before it."""
    greedy: bytes
    """bool[n]: whether it was the best of those that were left."""
    greedy_scores: bytes
    """float32[n]: the prediction of the best of them."""


class Impression(msgspec.Struct, frozen=True, array_like=True):
    """An answered request, with the ``n`` candidates that were shown, as MessagePack.

    The array fields hold little-endian bytes, row after row.
    """

    request_id: str
    entity: str
    at_ms: int
    """The time of the answer, by the replica's clock."""
    version: str
    """Version of the weights that scored it."""
    layout: str
    """Fingerprint of the input layout; a joiner refuses rows of another layout."""
    join_keys: bytes
    """int64[n]."""
    dense: bytes
    """float32[n, d]."""
    ids: bytes
    """int64[n, f]."""
    outage: bool = False
    """Whether a row of the features was not read because the online store did not answer. Defaults
    stand in for it, so a joiner does not learn from such an impression."""
    once: bool = False
    """Whether a repeated request has the same `request_id`: a joiner takes the first of these."""
    scores: bytes = b""
    """float32[n]: the predictions; empty in impressions of the versions before."""
    arms: dict[str, str] = {}
    """By experiment, the arm that the request was answered by."""
    explored: ExploredItems | None = None
    """None: the best items were shown in their order."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Impression)


def encode_impression(impression: Impression) -> bytes:
    """The record's payload."""
    return _encoder.encode(impression)


def decode_impression(payload: bytes) -> Impression:
    """Read a record's payload; raises BadRecord if it is no impression."""
    try:
        return _decoder.decode(payload)
    except RecursionError as error:
        raise BadRecord("not an impression: nested too deeply") from error
    except ValueError as error:  # msgspec's own errors, and text that is no UTF-8
        raise BadRecord(f"not an impression: {error}") from error


class ServedRows(NamedTuple):
    """The shown candidates of an impression."""

    join_keys: Ints
    """int64[n]."""
    inputs: Inputs
    scores: Floats
    """float32[n]: the predictions; NaN in impressions of the versions before."""


def served_rows(impression: Impression, dense_width: int, id_width: int) -> ServedRows:
    """What was scored and answered.

    Raises BadRecord when the byte lengths do not fit together.
    """
    shown, odd = divmod(len(impression.join_keys), 8)
    if (
        odd
        or len(impression.dense) != shown * dense_width * 4
        or len(impression.ids) != shown * id_width * 8
        or len(impression.scores) not in (0, shown * 4)
    ):
        raise BadRecord("impression: arrays of different lengths")
    keys = np.frombuffer(impression.join_keys, dtype="<i8")
    dense = np.frombuffer(impression.dense, dtype="<f4").reshape(shown, dense_width)
    ids = np.frombuffer(impression.ids, dtype="<i8").reshape(shown, id_width)
    inputs = Inputs(dense.astype(np.float32), ids.astype(np.int64))
    scores = np.full(shown, np.nan, np.float32)
    if impression.scores:
        scores[:] = np.frombuffer(impression.scores, dtype="<f4")
    return ServedRows(keys.astype(np.int64), inputs, scores)


class ServedDraws(NamedTuple):
    """How the ``n`` shown items of an impression were drawn."""

    propensities: Floats
    """float32[n], each above 0 and up to 1."""
    greedy: Bools
    """bool[n]."""
    greedy_scores: Floats
    """float32[n]."""


def served_draws(impression: Impression) -> ServedDraws | None:
    """How the items were drawn; None where the list does not explore.

    Raises BadRecord when lengths do not fit together, or numbers are no propensities and scores.
    """
    explored = impression.explored
    if explored is None:
        return None
    shown = len(impression.join_keys) // 8
    lengths = len(explored.propensities), len(explored.greedy), len(explored.greedy_scores)
    if lengths != (4 * shown, shown, 4 * shown):
        raise BadRecord("impression: draws of another number of items than were shown")
    propensities = np.frombuffer(explored.propensities, dtype="<f4").astype(np.float32)
    scores = np.frombuffer(explored.greedy_scores, dtype="<f4").astype(np.float32)
    # NaN is no propensity either.
    if not ((propensities > 0) & (propensities <= 1)).all() or not np.isfinite(scores).all():
        raise BadRecord("impression: draws without propensities or scores")
    greedy = np.frombuffer(explored.greedy, dtype=np.uint8) != 0
    return ServedDraws(propensities, greedy, scores)
