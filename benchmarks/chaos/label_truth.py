"""The labels that shown items should have, by the clicks themselves instead of the log of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import numpy as np

from freshrank.actors.impressions import Impression
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.labels.examples import LabelledRows

# Milliseconds around both ends of a label's time within which a click may count or not: the clocks
# of who shows and of who clicks are read one after the other.
MARGIN_MS = 1_000
# Milliseconds before the showing in which a click may count, for replicas whose clocks are ahead.
_EARLY_MS = 1_000


class Truth(Enum):
    """The label that a shown item should have."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    OPEN = "open"
    """Its click came so near to a bound that either label is right."""


class ClickLog:
    """When each shopper clicked each item, by the clock of this machine.

    Parameters
    ----------
    within_ms
        For how long after it was shown a click makes an item positive.
    """

    def __init__(self, within_ms: int) -> None:
        self._within_ms = within_ms
        self._clicks: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)

    def add(self, event: ShopEvent, begun_ms: int, sent_ms: int) -> None:
        """Note an event whose record was stamped between these times, whatever its own time is."""
        if event.type == "click":
            (item,) = hash_ints(np.array([event.item_id])).tolist()
            self._clicks[event.user_id, item].append((begun_ms, sent_ms))

    def after_ms(self, user: str, item: int, shown_ms: int) -> list[tuple[int, int]]:
        """How long after `shown_ms` each click was begun to be written, and was written."""
        clicks = self._clicks.get((user, item), ())
        return [(begun - shown_ms, sent - shown_ms) for begun, sent in clicks]

    def truth(self, user: str, item: int, shown_ms: int) -> Truth:
        """Return the label of the hashed `item` that `user` was shown at `shown_ms`.

        >>> clicks, (item,) = ClickLog(within_ms=3_000), hash_ints(np.array([7])).tolist()
        >>> clicks.add(ShopEvent("e", "ann", 7, 1, "click", 1.0, ts=0), 11_990, 12_000)
        >>> [clicks.truth("ann", item, at_ms).value for at_ms in (11_000, 9_500, 7_000, 12_500)]
        ['positive', 'open', 'negative', 'open']
        """
        after_ms = self.after_ms(user, item, shown_ms)
        if any(begun >= 0 and sent <= self._within_ms - MARGIN_MS for begun, sent in after_ms):
            return Truth.POSITIVE
        earliest, latest = -_EARLY_MS - MARGIN_MS, self._within_ms + MARGIN_MS
        if any(sent >= earliest and begun <= latest for begun, sent in after_ms):
            return Truth.OPEN
        return Truth.NEGATIVE


def mislabelled(
    rows: Iterable[LabelledRows], shown: Iterable[Impression], clicks: ClickLog
) -> list[str]:
    """A line for each label that is not the true one of the item shown with these inputs.

    Items are known by their inputs. Where several have the same ones, numbers of labels are
    compared; an item without a row is none that is mislabelled. A row that corrects another one
    makes an item positive that the other made negative.
    """
    shown_with = _by_inputs(shown)
    items_of: dict[bytes, int] = defaultdict(int)
    positives_of: dict[bytes, int] = defaultdict(int)
    for part in rows:
        dense_rows, id_rows = part.dense.astype("<f4"), part.ids.astype("<i8")
        counts = zip(part.labels.tolist(), part.corrects.tolist(), strict=True)
        for dense_row, id_row, (label, corrects) in zip(dense_rows, id_rows, counts, strict=True):
            inputs = dense_row.tobytes() + id_row.tobytes()
            items_of[inputs] += not corrects
            positives_of[inputs] += label > 0.5
    lines = list[str]()
    for inputs, count in items_of.items():
        truths = Counter(clicks.truth(*one) for one in shown_with[inputs])
        wrong = _wrong(truths, count, positives_of[inputs])
        which = "; ".join(
            f"{one.user} at {one.at_ms}, clicked after {clicks.after_ms(*one)} ms"
            for one in shown_with[inputs]
        )
        lines += [f"{positives_of[inputs]} of {count} are positive: {which}"] * wrong
    return lines


class _Shown(NamedTuple):
    user: str
    item: int
    """Hashed."""
    at_ms: int


def _by_inputs(shown: Iterable[Impression]) -> dict[bytes, list[_Shown]]:
    """The items of impressions by what the model was given of them."""
    found: dict[bytes, list[_Shown]] = defaultdict(list)
    for impression in shown:
        items = np.frombuffer(impression.join_keys, dtype="<i8").tolist()
        dense = _split(impression.dense, len(items))
        ids = _split(impression.ids, len(items))
        for item, *inputs in zip(items, dense, ids, strict=True):
            found[b"".join(inputs)].append(_Shown(impression.entity, item, impression.at_ms))
    return found


def _wrong(truths: Counter[Truth], items: int, positives: int) -> int:
    """Return how many labels of these items with the same inputs cannot be right."""
    without_row = truths.total() - items
    false = positives - truths[Truth.POSITIVE] - truths[Truth.OPEN]
    missed = truths[Truth.POSITIVE] - without_row - positives
    return max(false, 0) + max(missed, 0)


def _split(data: bytes, parts: int) -> list[bytes]:
    size = len(data) // max(parts, 1)
    return [data[at : at + size] for at in range(0, parts * size, size)]
