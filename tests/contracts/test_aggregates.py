"""One battery of checks over every aggregate: whatever it is, it agrees with the raw events."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from naive import (
    DAY_MS,
    START_MS,
    Behaviour,
    Condition,
    Days,
    Naive,
    Stretch,
    always,
    category,
    columns_of,
    everything_of,
    item,
    stream,
    user,
)

from freshrank import (
    Count,
    DecayedCount,
    DecayedMean,
    DecayedSum,
    DistinctCount,
    FeatureView,
    FirstValue,
    Histogram,
    LastK,
    LastValue,
    Max,
    Mean,
    Min,
    Quantile,
    Session,
    SmoothedRate,
    StandardDeviation,
    Sum,
    TimeSince,
    Trend,
    Tumbling,
    Variance,
    col,
)
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.sums import Windowed
from freshrank.feature_actors.aggregations.windowed.windows import Window
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.table_plan import TablePlan

# Forty events of 32 half-lives ago weigh less than this together: with them, whether a counter is
# there depends on the order of arrival.
FORGOTTEN = 1e-8

# What is refused as forgotten weighs less than this in a sum: forty events of at most 100.
FORGOTTEN_SUM = 1e-6

# The squares of distances up to 110 are exact to 1e-13 of their sum, and so are their roots where
# the true variance is above 1e-3; prices are quarters, so a smaller one is 0, exactly.
SQUARES = 1e-9


@dataclass(frozen=True)
class Expected:
    """What the raw events say: numbers, and a bag in any order of equal weights."""

    numbers: list[float]
    bag: list[tuple[int, float]]


class Case:
    """An aggregate and its naive twin."""

    def __init__(
        self,
        aggregate: Aggregate,
        where: Condition = always,
        *,
        within: float = 0.0,
        amount: Callable[[Behaviour], float | None] | None = None,
    ) -> None:
        self.where, self.within, self.amount = where, within, amount
        body = {"entity": user, "source": stream, "f": aggregate}
        self.aggregate = aggregate
        self.plan = TablePlan([type("View", (FeatureView,), body)])

    def expected(self, naive: Naive, at_ms: int) -> Expected:
        aggregate, where = self.aggregate, self.where
        if self.amount is not None:
            amounts = map(self.amount, naive.events)
            pairs = zip(naive.events, amounts, strict=True)
            naive = Naive([replace(one, price=amount) for one, amount in pairs])
        bag: list[tuple[int, float]] = []
        match aggregate:
            case LastK():
                key = item if aggregate.of == "item_id" else category
                last_k = naive.last_k if aggregate.repeats else naive.last_k_distinct
                bag = last_k(aggregate.k, where, key)
            case DecayedCount():
                decayed = naive.decayed(4_000, where, category, at_ms).items()
                bag = sorted(pair for pair in decayed if pair[1] > FORGOTTEN)
            case _:
                return Expected(self.numbers(naive, at_ms), [])
        return Expected([], bag)

    def numbers(self, naive: Naive, at_ms: int) -> list[float]:
        aggregate, where = self.aggregate, self.where
        match aggregate:
            case SmoothedRate():
                found = [self.rate(aggregate, naive, w, at_ms) for w in windows(aggregate)]
            case Windowed():
                value = {
                    Count: naive.count,
                    Sum: naive.sum,
                    Mean: naive.mean,
                    Max: naive.max,
                    Min: naive.min,
                    Variance: naive.variance,
                    StandardDeviation: naive.deviation,
                }[type(aggregate)]
                found = [value(w, where, at_ms) for w in windows(aggregate)]
            case DistinctCount():
                key = item if aggregate.of == "item_id" else category
                found = [naive.distinct(w, where, key, at_ms) for w in windows(aggregate)]
            case DecayedSum() | DecayedMean():
                total, mean = naive.decayed_numbers(4_000, where, at_ms)
                found = [total if isinstance(aggregate, DecayedSum) else mean]
            case FirstValue() | LastValue():
                prices = naive.in_order(where) or [math.nan]
                found = [prices[0 if isinstance(aggregate, FirstValue) else -1]]
            case Trend():
                delay_ms = length_of(aggregate.delay)
                both = Window("", 1_000, 84, delay_ms), Window("", 10_000, 834, delay_ms)
                found = [naive.trend(both, aggregate.prior, where, at_ms)]
            case Histogram():
                found = self.histogram(aggregate, naive, at_ms)
            case Quantile():
                found = [self.quantile(aggregate, naive, w, at_ms) for w in windows(aggregate)]
            case Session():
                found = naive.session(5_000, where, at_ms)
            case TimeSince():
                found = [naive.time_since(where, at_ms)]
            case _:
                raise AssertionError(f"no naive twin of {aggregate}")
        return found

    def rate(self, aggregate: SmoothedRate, naive: Naive, window: Stretch, at_ms: int) -> float:
        orders = naive.count(window, lambda one: is_order(one) and self.where(one), at_ms)
        cheap = naive.count(window, lambda one: is_cheap(one) and self.where(one), at_ms)
        return (orders + aggregate.prior * aggregate.expected) / (cheap + aggregate.prior)

    def histogram(self, aggregate: Histogram, naive: Naive, at_ms: int) -> list[float]:
        found: list[float] = []
        for window in windows(aggregate):
            prices = naive.prices(window, self.where, at_ms)
            ends = [-math.inf, *aggregate.boundaries, math.inf]
            counts = [sum(a <= one < b for one in prices) for a, b in itertools.pairwise(ends)]
            total = len(prices) or math.nan
            found += [count / total if aggregate.shares else float(count) for count in counts]
        return found

    def quantile(self, aggregate: Quantile, naive: Naive, window: Stretch, at_ms: int) -> float:
        """The middle, by ratio, of the range that the value of the rank lies in."""
        prices = sorted(naive.prices(window, self.where, at_ms))
        if not prices:
            return math.nan
        value = prices[int(aggregate.q * (len(prices) - 1))]
        (least, most), growth = aggregate.between, (1 + aggregate.error) / (1 - aggregate.error)
        ends = [least]
        while ends[-1] < most:
            ends.append(least * growth ** len(ends))
        if not least <= value < ends[-1]:
            return least if value < least else ends[-1]
        below = max(end for end in ends if end <= value)
        return below * 2 * growth / (growth + 1)

    def read(self, table: EntityTable, entity: str, at_ms: int) -> FeatureBlock:
        row = table.row(entity)
        rows = self.plan.empty_row if row is None else row
        return self.plan.read(rows.reshape(1, -1), np.array([at_ms]))

    def agrees(self, block: FeatureBlock, line: int, naive: Naive, at_ms: int) -> None:
        wanted = self.expected(naive, at_ms)
        np.testing.assert_allclose(block.values[line], wanted.numbers, rtol=1e-12, atol=self.within)
        pairs = zip(block.ids[line].tolist(), block.id_weights[line].tolist(), strict=True)
        bag = [pair for pair in pairs if pair[0] != 0 and pair[1] > FORGOTTEN]
        if isinstance(self.aggregate, DecayedCount):
            bag.sort()
        assert [one for one, _ in bag] == [one for one, _ in wanted.bag]
        np.testing.assert_allclose(
            [weight for _, weight in bag], [weight for _, weight in wanted.bag], atol=1e-8
        )


LENGTHS_MS = {"1s": 1_000, "3s": 3_000, "10s": 10_000, "1m": 60_000, "1d": DAY_MS}
LENGTHS_MS["62010s"] = 62_010_000


def length_of(text: str | None) -> int:
    return 0 if text is None else LENGTHS_MS[text]


def windows(aggregate: Windowed | Histogram | Quantile | DistinctCount) -> list[Stretch]:
    if isinstance(aggregate, DistinctCount):  # both ends are exact, as with a hop of 1 ms
        return [stretch(one, 0, LENGTHS_MS.get) for one in aggregate.windows]
    hops, delay_ms = {None: 12, "2s": 5}[aggregate.hop], length_of(aggregate.delay)
    return [stretch(one, delay_ms, lambda _: hops) for one in aggregate.windows]


def stretch(declared: str | Tumbling, delay_ms: int, hops: Callable[[str], int | None]) -> Stretch:
    if isinstance(declared, Tumbling):
        length_ms, begins_ms = length_of(declared.length), length_of(declared.begins)
        return Days(length_ms, begins_ms, int(declared.previous), delay_ms, declared.zone)
    if declared == "lifetime":
        return None
    length_ms = LENGTHS_MS[declared]
    return Window(declared, length_ms, -(-length_ms // (hops(declared) or 1)), delay_ms)


def is_order(event: Behaviour) -> bool:
    return event.type == "order"


def is_cheap(event: Behaviour) -> bool:
    return event.price is not None and event.price < 50


def has_none(event: Behaviour) -> bool:
    return event.category is None


def shifted(event: Behaviour) -> float | None:
    return None if event.price is None else event.price * event.item_id + 1


def one_if_order(event: Behaviour) -> float:
    return float(event.type == "order")


def ratio(event: Behaviour) -> float | None:
    return None if event.price is None or event.item_id == 0 else event.price / event.item_id


def twice_above_item(event: Behaviour) -> bool:
    return event.price is not None and event.price * 2 > event.item_id


DAYS = (Tumbling("10s"), Tumbling("10s", previous=True), Tumbling("1m", begins="3s"))
# These days begin ten seconds after the first event may come, at 17:13:30 there.
ZONED = Tumbling("1d", begins="62010s", zone="America/New_York")
ZONED_BEFORE = dataclasses.replace(ZONED, previous=True)
EVERY_KIND = ("10s", "lifetime", *DAYS)

# Four categories at most, so that four counters are exact; the bound of fewer is tested below.
CASES = {
    "count": Case(Count(windows=["1s", "10s", "1m"])),
    "count where": Case(Count(where=col.type == "order", windows=["10s"]), is_order),
    "count where null": Case(Count(where=col.category.is_null(), windows=["10s"]), has_none),
    "sum where not null": Case(
        Sum("price", where=~col.category.is_null(), windows=["10s"]), lambda one: not has_none(one)
    ),
    "count delayed": Case(Count(windows=["1s", "10s"], delay="10s")),
    "count delayed where": Case(
        Count(where=col.type == "order", windows=["10s"], delay="1s"), is_order
    ),
    "mean delayed": Case(Mean("price", windows=["10s"], delay="1s")),
    "max delayed": Case(Max("price", windows=["1s", "10s"], delay="1s", hop=None)),
    "smoothed rate delayed": Case(
        SmoothedRate(
            of=col.type == "order",
            among=col.price < 50,
            expected=0.2,
            windows=["1s", "10s"],
            delay="10s",
        )
    ),
    "count of every kind": Case(Count(windows=EVERY_KIND)),
    "count in a lifetime": Case(Count(windows=["lifetime"])),
    "count in a lifetime where": Case(
        Count(where=col.type == "order", windows=["lifetime"]), is_order
    ),
    "count today": Case(Count(windows=[Tumbling("10s", begins="3s")])),
    "count yesterday": Case(
        Count(windows=[Tumbling("10s", begins="3s", previous=True), Tumbling("1s", previous=True)])
    ),
    "count today in a zone": Case(Count(windows=[ZONED, ZONED_BEFORE])),
    "mean yesterday in a zone": Case(Mean("price", windows=[ZONED_BEFORE, "10s"], delay="10s")),
    "distinct today in a zone": Case(DistinctCount("category", windows=[ZONED], most=4)),
    "distinct estimate today in a zone": Case(
        DistinctCount("category", windows=[ZONED], error=0.25)
    ),
    "median today in a zone": Case(Quantile("price", between=(1, 100), windows=[ZONED])),
    "count yesterday delayed": Case(Count(windows=[Tumbling("10s", previous=True)], delay="3s")),
    "sum of every kind": Case(Sum("price", windows=EVERY_KIND)),
    "mean of every kind": Case(Mean("price", windows=EVERY_KIND)),
    "max of every kind": Case(Max("price", windows=EVERY_KIND)),
    "min of every kind": Case(Min("price", windows=["1s", *EVERY_KIND], hop=None)),
    "variance of every kind": Case(Variance("price", windows=EVERY_KIND), within=SQUARES),
    "deviation in a lifetime": Case(
        StandardDeviation("price", windows=["lifetime"]), within=SQUARES
    ),
    "smoothed rate of every kind": Case(
        SmoothedRate(of=col.type == "order", among=col.price < 50, expected=0.2, windows=EVERY_KIND)
    ),
    "histogram of every kind": Case(Histogram("price", [0, 12.5, 50], windows=EVERY_KIND)),
    "histogram delayed": Case(Histogram("price", [10], windows=["10s"], delay="3s")),
    "median of every kind": Case(Quantile("price", between=(1, 100), windows=EVERY_KIND)),
    "median delayed": Case(Quantile("price", between=(1, 100), windows=["1s", "10s"], delay="1s")),
    "distinct of every kind": Case(
        DistinctCount("category", windows=["1s", "lifetime", DAYS[0], DAYS[2]], most=4)
    ),
    "distinct estimate of every kind": Case(
        DistinctCount("category", windows=["1s", "lifetime", DAYS[0], DAYS[2]], error=0.25)
    ),
    "trend delayed": Case(Trend("1s", "10s", delay="3s")),
    "count hop": Case(Count(windows=["10s"], hop="2s")),
    "sum": Case(Sum("price", windows=["1s", "1m"])),
    "sum where": Case(Sum("price", where=col.type == "order", windows=["10s"]), is_order),
    "sum of products": Case(Sum(col.price * col.item_id + 1, windows=["10s"]), amount=shifted),
    "rate": Case(Mean(col.type == "order", windows=["1s", "1m"]), amount=one_if_order),
    "smoothed rate": Case(
        SmoothedRate(
            of=col.type == "order", among=col.price < 50, expected=0.2, windows=["1s", "1m"]
        )
    ),
    "smoothed rate where": Case(
        SmoothedRate(
            of=col.type == "order",
            among=col.price < 50,
            expected=0.2,
            prior=3,
            where=col.category.is_null(),
            windows=["10s"],
        ),
        has_none,
    ),
    "last quotient": Case(LastValue(col.price / col.item_id), amount=ratio),
    "mean where calculated": Case(
        Mean("price", where=col.price * 2 > col.item_id, windows=["10s"]), twice_above_item
    ),
    "mean": Case(Mean("price", windows=["1s", "10s"])),
    "mean where": Case(Mean("price", where=col.type == "order", windows=["10s"]), is_order),
    "max": Case(Max("price", windows=["1s", "10s"])),
    "max where": Case(Max("price", where=col.type == "order", windows=["10s"]), is_order),
    "max hop": Case(Max("price", windows=["10s"], hop="2s")),
    "min": Case(Min("price", windows=["1s", "1m"])),
    "min where": Case(Min("price", where=col.type == "order", windows=["10s"]), is_order),
    "variance": Case(Variance("price", windows=["1s", "10s", "1m"]), within=SQUARES),
    "variance where": Case(
        Variance("price", where=col.type == "order", windows=["10s"]), is_order, within=SQUARES
    ),
    "deviation": Case(StandardDeviation("price", windows=["1s", "10s"], hop=None), within=SQUARES),
    "distinct": Case(DistinctCount("category", windows=["1s", "10s", "1m"], most=4)),
    "distinct where": Case(
        DistinctCount("item_id", windows=["10s"], most=6, where=col.type == "order"), is_order
    ),
    "decayed sum": Case(DecayedSum("price", half_life="4s"), within=FORGOTTEN_SUM),
    "decayed sum where": Case(
        DecayedSum("price", half_life="4s", where=col.type == "order"),
        is_order,
        within=FORGOTTEN_SUM,
    ),
    "decayed mean": Case(DecayedMean("price", half_life="4s"), within=FORGOTTEN_SUM),
    "first": Case(FirstValue("price")),
    "first where": Case(FirstValue("price", where=col.type == "order"), is_order),
    "last": Case(LastValue("price")),
    "last where": Case(LastValue("price", where=col.type == "order"), is_order),
    "trend": Case(Trend("1s", "10s")),
    "trend where": Case(Trend("1s", "10s", where=col.type == "order", prior=0.5), is_order),
    "histogram": Case(Histogram("price", [0, 12.5, 50], windows=["1s", "10s"])),
    "histogram where": Case(
        Histogram(
            "price", [10], windows=["10s"], where=col.type == "order", shares=False, hop="2s"
        ),
        is_order,
    ),
    "histogram of products": Case(
        Histogram(col.price * col.item_id + 1, [1, 7], windows=["1m"]), amount=shifted
    ),
    "median": Case(Quantile("price", between=(1, 100), windows=["1s", "10s"])),
    "quantile": Case(Quantile("price", q=0.9, between=(2, 30), error=0.2, windows=["1m"])),
    "least where": Case(
        Quantile(
            "price", q=0, between=(1, 100), windows=["10s"], where=col.type == "order", hop="2s"
        ),
        is_order,
    ),
    "largest of products": Case(
        Quantile(col.price * col.item_id + 1, q=1, between=(0.5, 200), windows=["10s"]),
        amount=shifted,
    ),
    "session": Case(Session(gap="5s")),
    "session where": Case(Session(gap="5s", where=col.type == "order"), is_order),
    "distinct estimate": Case(DistinctCount("category", windows=["1s", "10s"], error=0.25)),
    "distinct estimate where": Case(
        DistinctCount("item_id", windows=["1m"], error=0.1, where=col.type == "order"), is_order
    ),
    "time since": Case(TimeSince()),
    "time since where": Case(TimeSince(where=col.type == "order"), is_order),
    "last k": Case(LastK("item_id", k=3)),
    "last k of text": Case(LastK("category", k=4, where=col.type == "order"), is_order),
    "last one": Case(LastK("item_id", k=1)),
    "last k distinct": Case(LastK("category", k=3, repeats=False)),
    "last k distinct where": Case(
        LastK("item_id", k=2, repeats=False, where=col.type == "order"), is_order
    ),
    "decayed": Case(DecayedCount(by="category", half_life="4s", top=4)),
    "decayed where": Case(
        DecayedCount(by="category", half_life="4s", top=4, where=col.type == "order"), is_order
    ),
}

# Mostly within a few windows, now and then far ahead, so that rings wrap and empty.
moments = st.one_of(
    st.integers(0, 3_000), st.integers(0, 80_000), st.sampled_from([0, 1_000, 10_000, 200_000])
)
# All that is drawn of few, as one draw: drawing takes most of the time of these tests.
kinds = st.sampled_from(
    list(
        itertools.product(
            ["ann", "bob"], ["view", "order"], ["a", "b", "c\0d", "", None], [False, True]
        )
    )
)


def drawn(
    kind: tuple[str, str, str | None, bool], moment: int, item_id: int, quarters: int
) -> Behaviour:
    user_id, type_, category, priced = kind
    price = quarters / 4 if priced else None
    return Behaviour("e", user_id, START_MS + moment, type_, item_id, category, price)


behaviours = st.builds(drawn, kinds, moments, st.integers(-1, 4), st.integers(-40, 400))
logs = st.lists(behaviours, max_size=40)

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def applied(case: Case, log: Sequence[Behaviour]) -> EntityTable:
    table = EntityTable(case.plan, 100)
    table.apply(columns_of(log), before=False)
    return table


def of(entity: str, log: Sequence[Behaviour]) -> Naive:
    return Naive([event for event in log if event.user_id == entity])


@each_case
@given(log=logs, at=moments)
@settings(max_examples=40)
def test_a_read_at_any_time_agrees_with_the_raw_events(
    case: Case, log: list[Behaviour], at: int
) -> None:
    table = applied(case, log)
    for entity in ("ann", "bob", "nobody"):
        case.agrees(case.read(table, entity, START_MS + at), 0, of(entity, log), START_MS + at)


@each_case
@given(log=logs)
@settings(max_examples=20)
def test_the_features_before_an_event_are_a_read_of_the_row_just_before(
    case: Case, log: list[Behaviour]
) -> None:
    whole = EntityTable(case.plan, 100).apply(columns_of(log), before=True).before
    assert whole is not None
    table = EntityTable(case.plan, 100)
    for place, event in enumerate(log):
        single = case.read(table, event.user_id, event.ts)
        for name in FeatureBlock._fields:
            np.testing.assert_array_equal(getattr(whole, name)[place], getattr(single, name)[0])
        case.agrees(whole, place, of(event.user_id, log[:place]), event.ts)
        table.apply(columns_of([event], place), before=False)


@each_case
@given(log=logs, cut=st.integers(0, 40), data=st.data())
@settings(max_examples=15)
def test_a_batch_split_anywhere_gives_the_same_rows(
    case: Case, log: list[Behaviour], cut: int, data: st.DataObject
) -> None:
    parts = EntityTable(case.plan, 100)
    asked = data.draw(st.booleans())
    first = parts.apply(columns_of(log[:cut]), before=asked)
    second = parts.apply(columns_of(log[cut:], cut), before=not asked)
    whole = EntityTable(case.plan, 100)
    once = whole.apply(columns_of(log), before=False)
    np.testing.assert_array_equal(np.concatenate([first.late, second.late]), once.late)
    for name, array in everything_of(whole).items():
        assert array.tobytes() == everything_of(parts)[name].tobytes()


@each_case
@given(log=logs, rest=logs)
@settings(max_examples=15)
def test_a_restored_snapshot_goes_on_as_if_nothing_had_been(
    case: Case, log: list[Behaviour], rest: list[Behaviour]
) -> None:
    table = applied(case, log)
    restored = EntityTable.restore(case.plan, 100, everything_of(table))
    for one in (table, restored):
        one.apply(columns_of(rest, len(log)), before=False)
    for entity in ("ann", "bob"):
        mine, other = table.row(entity), restored.row(entity)
        assert (mine is None) == (other is None)
        assert mine is None or other is None or mine.tobytes() == other.tobytes()


@each_case
@given(log=logs, at=moments)
@settings(max_examples=8)
def test_reading_changes_neither_the_rows_nor_the_columns(
    case: Case, log: list[Behaviour], at: int
) -> None:
    columns = columns_of(log)
    table = EntityTable(case.plan, 100)
    table.apply(columns, before=False)
    rows = table.rows(table.slots())
    kept = rows.tobytes(), columns.hashed("category").tobytes(), columns.number("price").tobytes()
    case.plan.read(rows, np.full(len(rows), START_MS + at))
    table.apply(columns.take(np.arange(0)), before=True)
    assert kept == (
        table.rows(table.slots()).tobytes(),
        columns.hashed("category").tobytes(),
        columns.number("price").tobytes(),
    )


@pytest.mark.parametrize(
    "name",
    [
        "count", "sum", "mean", "max", "min", "variance", "distinct", "last k",
        "decayed", "decayed sum", "decayed mean", "trend", "histogram", "median", "session",
        "distinct estimate", "count today", "count yesterday delayed", "trend delayed",
    ],
)  # fmt: skip
def test_an_event_that_nothing_can_take_is_late_and_leaves_no_trace(name: str) -> None:
    case = CASES[name]
    newest = [event(START_MS + moment) for moment in (200_000, 200_001, 200_002)]
    table = applied(case, newest)
    kept = everything_of(table)
    late = table.apply(columns_of([event(START_MS)], 3), before=False).late
    assert late.tolist() == [True]
    assert {key: one.tobytes() for key, one in everything_of(table).items()} == {
        key: one.tobytes() for key, one in kept.items()
    }


@each_case
def test_its_parts_are_laid_out_as_it_is_and_each_is_a_part_of_its_own(case: Case) -> None:
    whole, apart = Layout(), Layout()
    case.aggregate.lay_out("feature", whole)
    parts = case.aggregate.parts()
    for part in parts:
        part.check(stream.fields, "feature")
        part.lay_out("feature", apart)
        assert [one.canonical() for one in part.parts()] == [part.canonical()]
    assert len({one.canonical() for one in parts}) == len(parts) == len(whole.placed)
    assert (apart.placed, apart.columns, apart.bags) == (whole.placed, whole.columns, whole.bags)
    assert apart.program.tolist() == whole.program.tolist()
    assert apart.empty_row.tolist() == whole.empty_row.tolist()


@pytest.mark.parametrize("name", ["count in a lifetime", "deviation in a lifetime"])
def test_no_event_is_late_for_a_lifetime(name: str) -> None:
    table = applied(CASES[name], [event(START_MS + 200_000)])
    assert not table.apply(columns_of([event(1)], 1), before=False).late.any()


@pytest.mark.parametrize(
    ("aggregate", "counted"),
    [
        (Count(windows=["lifetime"]), [2.0**31]),
        (Histogram("price", [0], windows=["lifetime"], shares=False), [2.0**31 - 1, 2.0**31]),
        (SmoothedRate(col.price > 0, col.price > 0, 0.0, windows=["lifetime"]), [1.0]),
    ],
    ids=["count", "histogram", "rate"],
)
def test_a_lifetime_counts_beyond_what_a_tile_holds(
    aggregate: Aggregate, counted: list[float]
) -> None:
    case = Case(aggregate)
    arrays = everything_of(applied(case, [event(START_MS)]))
    words = case.plan.layout.words_of("f_lifetime")
    arrays["rows"].view(np.int64)[:, words] = 2**31 - 1
    table = EntityTable.restore(case.plan, 100, arrays)
    table.apply(columns_of([event(START_MS)], 1), before=False)
    np.testing.assert_allclose(case.read(table, "ann", START_MS).values[0], counted, rtol=1e-7)


def test_an_event_that_meets_no_condition_is_not_late() -> None:
    case = CASES["count where"]
    table = applied(case, [event(START_MS + 200_000)])
    old = Behaviour(event_id="e", user_id="ann", ts=START_MS, type="view")
    assert table.apply(columns_of([old], 1), before=False).late.tolist() == [False]


def test_an_event_that_a_longer_window_takes_is_not_late() -> None:
    table = applied(CASES["count"], [event(START_MS + 200_000)])
    behind = columns_of([event(START_MS + 195_000), event(START_MS + 200_000 - 70_000)], 1)
    assert table.apply(behind, before=False).late.tolist() == [False, True]


def test_a_time_since_calls_nothing_late() -> None:
    table = applied(CASES["time since"], [event(START_MS + 200_000)])
    assert not table.apply(columns_of([event(START_MS)], 1), before=False).late.any()


def test_a_value_that_is_kept_with_a_newer_time_is_not_late_and_one_with_no_place_is() -> None:
    case = Case(LastK("item_id", k=2, repeats=False))
    kept = [behaviour(START_MS + 9, item=1), behaviour(START_MS + 8, item=2)]
    table = applied(case, kept)
    older = [behaviour(START_MS + 1, item=2), behaviour(START_MS + 1, item=3)]
    late = table.apply(columns_of(older, 2), before=False).late
    assert late.tolist() == [False, True]
    case.agrees(case.read(table, "ann", START_MS), 0, Naive(kept), START_MS)


@given(log=logs, top=st.integers(1, 3), at=moments)
@settings(max_examples=200)
def test_few_counters_keep_the_bound_of_space_saving(
    log: list[Behaviour], top: int, at: int
) -> None:
    case = Case(DecayedCount(by="category", half_life="4s", top=top))
    block = case.read(applied(case, log), "ann", START_MS + at)
    true = of("ann", log).decayed(4_000, always, category, START_MS + at)
    bound = sum(true.values()) / top
    kept = dict(zip(block.ids[0].tolist(), block.id_weights[0].tolist(), strict=True))
    for key, weight in kept.items():
        if key != 0:
            assert true[key] - 1e-8 <= weight <= true[key] + bound + 1e-8
    assert {key for key, weight in true.items() if weight > bound + 1e-8} <= kept.keys()


@given(log=logs, most=st.integers(1, 3), at=moments, data=st.data())
def test_more_distinct_values_than_are_kept_count_as_many_as_are_kept_in_any_order(
    log: list[Behaviour], most: int, at: int, data: st.DataObject
) -> None:
    case = Case(DistinctCount("category", windows=["10s"], most=most))
    log = of("ann", log).events
    true = of("ann", log).distinct(Window("", 10_000, 1), always, category, START_MS + at)
    for order in (log, data.draw(st.permutations(log))):
        block = case.read(applied(case, order), "ann", START_MS + at)
        assert block.values[0, 0] == min(true, most)


def test_numbers_far_from_zero_and_near_each_other_keep_their_variance() -> None:
    case = Case(Variance("price", windows=["1s", "1m"]))
    log = [event(START_MS + place, price=1e9 + place % 2) for place in range(1_000)]
    block = case.read(applied(case, log), "ann", START_MS + 1_000)
    np.testing.assert_allclose(block.values[0], [0.25, 0.25], rtol=1e-6)


def behaviour(ts: int, item: int) -> Behaviour:
    return Behaviour(event_id="e", user_id="ann", ts=ts, item_id=item)


def event(ts: int, price: float = 1.0) -> Behaviour:
    return Behaviour(
        event_id="e", user_id="ann", ts=ts, type="order", category="a", price=price, item_id=2
    )
