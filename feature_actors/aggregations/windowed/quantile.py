"""Quantile over windows: a number that a share of the values lies below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    OUT,
    PARAMETERS,
    FeatureBlock,
    Moment,
    RowViews,
)
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.histogram import (
    clear_buckets,
    count_in_bucket,
    count_of_bucket,
)
from freshrank.feature_actors.aggregations.windowed.rings import (
    counter_words,
    reach,
    ring_operation,
)
from freshrank.feature_actors.aggregations.windowed.windows import (
    OverWindows,
    Tumbling,
    Window,
    canonical_windows,
    parse_windows,
)
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.expressions.derived import bucket
from freshrank.feature_actors.streams.expressions.numbers import Numeric, number_of
from freshrank.feature_actors.streams.fields import Fields

# More buckets than this make a row of many kilobytes: a typing error rather than a wish.
_MOST_BUCKETS = 256


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """The middle, by ratio, of the bucket that has the value of the wanted rank."""
    constants = line[PARAMETERS:].view(np.float64)
    buckets, share, least, growth = int(constants[0]), constants[1], constants[2], constants[3]
    tiles = reach(line, moment)
    total = 0
    for kind in range(buckets):
        total += count_of_bucket(rows, row, line, kind, tiles)
    if total == 0:
        out.values[to, line[OUT]] = math.nan
        return
    rank, kind = int(share * (total - 1)), 0
    below = count_of_bucket(rows, row, line, 0, tiles)
    while below <= rank:
        kind += 1
        below += count_of_bucket(rows, row, line, kind, tiles)
    value = least
    if kind == buckets - 1:
        value = least * growth ** (kind - 1)
    elif kind > 0:
        value = 2.0 * least * growth**kind / (growth + 1.0)
    out.values[to, line[OUT]] = value


@dataclass(frozen=True)
class Quantile(OverWindows):
    """The value below which a share `q` of the values of a number lies, in each window.

    ``typical = Quantile("price", q=0.5, between=(1, 1_000), windows=["7d"])`` gives the median as
    the column ``typical_7d``. Of ``n`` values it is the one of rank ``floor(q * (n - 1))``, from
    the smallest as 0: of the prices 10, 20 and 400 the median is 20, give or take 5 %.

    The counts are those of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable
    quantile sketch with relative-error guarantees", VLDB 2019): geometric buckets whose bounds
    grow by ``g = (1 + error) / (1 - error)``, each of which stands for the value that is off by at
    most `error` of any in it. There are ``log(most / least) / log(g)`` of them between the two
    declared values; what lies beyond these counts as the nearer of both.

    Exact, but for `error` and the hop of the window. None is passed over; NaN where the window
    holds no value. 4 bytes a bucket and tile, which are 13 of a sliding window unless
    `hop` is given.

    Parameters
    ----------
    of
        A numeric field or a calculation.
    q
        Between 0, the smallest value, and 1, the largest.
    between
        The least and the greatest value that are told apart from those beyond, both above 0.
    error
        Of the quantile, relative; above 0 and below 1.
    """

    of: Numeric
    between: tuple[float, float]
    windows: Sequence[str | Tumbling] = ()
    q: float = 0.5
    error: float = 0.05
    where: Expression | None = None
    hop: str | None = None
    delay: str | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, share, range, error, condition or window."""
        number_of(self.of).check(fields, place)
        if not isinstance(self.q, int | float) or not 0.0 <= self.q <= 1.0:
            raise ConfigError(f"{place}.q", f"{self.q!r} is no share", "Take e.g. 0.5, the median.")
        if not isinstance(self.error, int | float) or not 0.0 < self.error < 1.0:
            raise ConfigError(
                f"{place}.error", f"{self.error!r} is not between 0 and 1", "Take e.g. 0.05."
            )
        self._check_range(f"{place}.between")
        check_where(self.where, fields, place)
        parse_windows(self.windows, self.hop, place, self.delay)

    def _check_range(self, place: str) -> None:
        fix = "Write the least and the greatest usual value, both above 0, as in (1, 1_000)."
        ends = self.between
        if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
            raise ConfigError(place, f"{ends!r} is no pair of numbers", fix)
        for end in ends:
            if not isinstance(end, int | float) or not 0.0 < end < math.inf:
                raise ConfigError(place, f"{end!r} is no number above 0", fix)
        if not ends[0] < ends[1]:
            raise ConfigError(place, f"{ends[1]!r} is not above {ends[0]!r}", fix)
        if len(self._boundaries()) >= _MOST_BUCKETS:
            raise ConfigError(
                place,
                f"an error of {self.error!r} cuts {ends!r} into {len(self._boundaries())} buckets",
                f"Allow a larger error, or a narrower range: at most {_MOST_BUCKETS} are kept.",
            )

    def lay_out(self, name: str, layout: Layout) -> None:
        """For each window a ring whose tiles hold a count a bucket."""
        boundaries = self._boundaries()
        buckets = len(boundaries) + 1
        for window in self._windows():
            column = f"{name}_{window.text}"
            line = replace(
                window.line(_QUANTILE.opcode, layout.number_column(column)),
                mask=layout.mask(self.where),
                source=layout.number(bucket(self.of, boundaries)),
                parameters=(float(buckets), float(self.q), boundaries[0], self._growth()),
            )
            empty = np.zeros(counter_words(window.tiles, buckets), dtype=np.int64)
            error = f"within {self.error:.2g} of itself between {self.between[0]:g} and " + (
                f"{self.between[1]:g}"
            )
            layout.add(column, line, empty, window.keeps_ms, error)

    def canonical(self) -> str:
        """Field, share, range, error, condition, windows and hops."""
        windows = canonical_windows(self._windows())
        least, most = map(float, self.between)
        bounds = f"{float(self.q)}; {least}; {most}; {float(self.error)}"
        return f"quantile({number_of(self.of)}; {bounds}; {self.where}; {windows})"

    def _windows(self) -> tuple[Window, ...]:
        return parse_windows(self.windows, self.hop, "Quantile", self.delay)

    def _growth(self) -> float:
        """The quotient of two neighbouring boundaries."""
        return (1.0 + self.error) / (1.0 - self.error)

    def _boundaries(self) -> list[float]:
        """From the least value to the first that is not below the greatest one."""
        least, most = map(float, self.between)
        count = math.ceil(math.log(most / least) / math.log(self._growth()))
        return [least * self._growth() ** number for number in range(count + 1)]


_QUANTILE = ring_operation(19, (clear_buckets, count_in_bucket), _read, of_field=True)

OPERATIONS = (_QUANTILE,)
