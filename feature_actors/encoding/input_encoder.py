"""Features and context to the inputs of a model: the same code trains and serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.kernels.hashing import hash_text, mix_columns
from freshrank.actors.messages import Doubles, Floats, IdField, InputLayout, Inputs, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan

# Sums of enormous numbers overflow to infinity, which no model must see.
_LARGEST = float(np.finfo(np.float64).max)


class _Sources(NamedTuple):
    """Where each input column comes from.

    An id source ``s >= 0`` is column ``s`` of `FeatureBlock.ids`, ``s < 0`` is line ``-1 - s`` of
    the context ids. `matches` int64[q, 3]: first and end column of a bag, line of the context ids.
    """

    left: Ints
    """int64[f]."""
    right: Ints
    """int64[c]: the other sides of the crosses, which are the last columns."""
    matches: Ints


class InputEncoder:
    """Turns feature blocks and context into `Inputs` of `layout`.

    Dense inputs are the sign times log1p of each numeric feature (a time since in seconds) and of
    each numeric context field, 0 where there is no value; and for each bag over a field that is
    in the context too, log1p of the weight that the bag gives to the row's own value (its decayed
    count, or how often it is among the last k). Id inputs are the context's text and integer
    fields (the entity's key always among them), the bags, and the crosses; each field is salted
    with its name, so that equal values of two fields are different ids.

    Raises ConfigError for a context field or a cross that names nothing, or is given twice.
    """

    def __init__(
        self,
        plan: FeaturePlan,
        stream: Stream,
        context: Sequence[str],
        crosses: Sequence[tuple[str, str]],
    ) -> None:
        self._plan = plan
        key = plan.entity.key
        names = list(context) if key in context else [key, *context]
        fields = [_context_field(stream, names, index) for index in range(len(names))]
        self._id_names = [field.name for field in fields if field.kind is not Kind.NUMBER]
        self._number_names = [field.name for field in fields if field.kind is Kind.NUMBER]
        columns = self._id_columns()
        matches = self._matches()
        crossed = [_cross(columns, cross) for cross in crosses]
        _check_names([*columns, *(name for name, _ in crossed)])
        pairs = [pair for _, found in crossed for pair in found]
        single = [one for sources in columns.values() for one in sources]
        self._sources = _Sources(
            np.array(single + [left for left, _ in pairs], dtype=np.int64),
            np.array([right for _, right in pairs], dtype=np.int64),
            np.array([where for _, where in matches], dtype=np.int64).reshape(-1, 3),
        )
        widths = {name: len(sources) for name, sources in columns.items()}
        widths |= {name: len(found) for name, found in crossed}
        self.layout = InputLayout(
            dense=(*plan.columns, *self._number_names, *(name for name, _ in matches)),
            fields=tuple(IdField(name, width) for name, width in widths.items()),
        )
        self._salts = np.repeat(
            np.array([hash_text(name) for name in widths], dtype=np.int64), list(widths.values())
        )
        self.fingerprint = xxhash.xxh64_hexdigest(
            f"{plan.fingerprint} {self.layout} {pairs}".encode()
        )
        """16 hex digits: equal for encoders whose inputs mean the same."""

    @property
    def context_names(self) -> tuple[str, ...]:
        """What `encode` needs: ids first (the entity's key among them), then numbers."""
        return (*self._id_names, *self._number_names)

    def context_of(self, columns: Columns) -> dict[str, Ints | Doubles]:
        """The context that the events themselves carry, in the form that `encode` takes."""
        found: dict[str, Ints | Doubles] = {}
        for name in self._id_names:
            found[name] = columns.hashed(name)
        for name in self._number_names:
            found[name] = columns.number(name)
        return found

    def encode(
        self, block: FeatureBlock, which: Ints, context: Mapping[str, Ints | Doubles]
    ) -> Inputs:
        """The inputs of ``n`` rows: row ``i`` has the features of line ``which[i]`` of `block`.

        `context` holds, for the entity's key and each context field, ids int64[n] (as
        `Columns.hashed` gives them) or numbers float64[n].
        """
        rows = len(which)
        ids = np.empty((len(self._id_names), rows), dtype=np.int64)
        for line, name in enumerate(self._id_names):
            ids[line] = context[name]
        numbers = np.empty((len(self._number_names), rows), dtype=np.float64)
        for line, name in enumerate(self._number_names):
            numbers[line] = context[name]
        dense = np.empty((rows, len(self.layout.dense)), dtype=np.float32)
        left = np.empty((rows, len(self._sources.left)), dtype=np.int64)
        right = np.empty((rows, len(self._sources.right)), dtype=np.int64)
        ids_out = np.empty_like(left)
        context_arrays = _Context(ids, numbers)
        gather_dense(block, which, context_arrays, self._sources.matches, dense)
        gather_ids(block.ids, which, ids, self._sources.left, left)
        gather_ids(block.ids, which, ids, self._sources.right, right)
        mix_columns(left, right, self._salts, ids_out)
        return Inputs(dense, ids_out)

    def _id_columns(self) -> dict[str, list[int]]:
        """The sources of each id field, crosses apart."""
        columns = {name: [-1 - line] for line, name in enumerate(self._id_names)}
        begin = 0
        for bag in self._plan.bags:
            _check_names([*columns, bag.field.name])
            columns[bag.field.name] = list(range(begin, begin + bag.field.width))
            begin += bag.field.width
        return columns

    def _matches(self) -> list[tuple[str, tuple[int, int, int]]]:
        found: list[tuple[str, tuple[int, int, int]]] = []
        begin = 0
        for bag in self._plan.bags:
            end = begin + bag.field.width
            if bag.source in self._id_names:
                line = self._id_names.index(bag.source)
                found.append((f"{bag.field.name}_match", (begin, end, line)))
            begin = end
        return found


class _Context(NamedTuple):
    ids: Ints
    """int64[., n]."""
    numbers: Doubles
    """float64[., n]."""


def _context_field(stream: Stream, names: Sequence[str], index: int) -> Field:
    if names[index] in names[:index]:
        raise ConfigError("context", f"{names[index]!r} is given twice", "Drop one of them.")
    return stream.fields.require(names[index], f"context[{index}]")


def _check_names(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(
                "context", f"two id inputs are called {name!r}", "Rename the feature."
            )


def _cross(
    columns: Mapping[str, list[int]], cross: tuple[str, str]
) -> tuple[str, list[tuple[int, int]]]:
    """Name and source pairs of a cross: of two single fields, or of a bag and a single one."""
    place = f"crosses {cross!r}"
    if isinstance(cross, str) or len(cross) != 2:
        raise ConfigError(place, "it is no pair", 'Write pairs, as in [("user_id", "item_id")].')
    for name in cross:
        if name not in columns:
            raise ConfigError(
                place, f"{name!r} is no id input", f"There are: {', '.join(columns)}."
            )
    left, right = (columns[name] for name in cross)
    if len(left) > 1 and len(right) > 1:
        raise ConfigError(place, "both sides are bags", "Cross a bag with a single field.")
    if len(right) > 1:
        left, right = right, left
    return "_x_".join(cross), [(one, right[0]) for one in left]


@lean_kernel
def _shrink(value: float) -> float:
    """The sign times log1p of the magnitude: always finite, 0 for NaN."""
    if value > 0.0:
        return float(np.log1p(min(value, _LARGEST)))
    if value < 0.0:
        return float(-np.log1p(min(-value, _LARGEST)))
    return 0.0


@lean_kernel
def gather_ids(bags: Ints, which: Ints, context: Ints, sources: Ints, out: Ints) -> None:
    """Fill `out` int64[n, f] from the `sources` int64[f] of its columns."""
    for i in range(len(which)):
        row = which[i]
        for column in range(len(sources)):
            source = sources[column]
            out[i, column] = bags[row, source] if source >= 0 else context[-1 - source, i]


@lean_kernel
def gather_dense(
    block: FeatureBlock, which: Ints, context: _Context, matches: Ints, out: Floats
) -> None:
    """Fill `out` float32[n, d]: features, numeric context, matches."""
    values, bags, weights = block.values, block.ids, block.id_weights
    ids, numbers = context.ids, context.numbers
    features = values.shape[1]
    for i in range(len(which)):
        row = which[i]
        for column in range(features):
            if i > 0 and which[i - 1] == row:
                out[i, column] = out[i - 1, column]
            else:
                out[i, column] = _shrink(values[row, column])
        for line in range(len(numbers)):
            out[i, features + line] = _shrink(numbers[line, i])
        for match in range(len(matches)):
            weight, own = 0.0, ids[matches[match, 2], i]
            for place in range(matches[match, 0], matches[match, 1]):
                if bags[row, place] == own:
                    weight += weights[row, place]
            out[i, features + len(numbers) + match] = _shrink(weight)
