"""The definitions of labels: a join with the items that were served, or the events' own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Field, Fields, Kind

MOST_CLASSES = 1_000
"""Of a label: each has weights of its own for every input, and a report of its own."""


@dataclass(frozen=True)
class Joined:
    """An item that was shown is positive if the user did this to it soon enough.

    The event's time is that at which it reached the log. The item's is that of the replica's clock,
    or that at which the impression reached the log where this is earlier. So the clocks of users
    have no influence. The rows that the model learns from are those that were served, out of the
    impression log: as negative when they were shown, and once more, as a correction, when the event
    has come.

    Parameters
    ----------
    positive
        Which events make a shown item positive.
    on
        The event's field that names the item; it is one of the pipeline's context fields.
    within
        How long after it was shown the event has to reach the log (both ends included).
    grace
        How much longer than `within` an item waits. It is forgotten when the log's time is later
        than ``shown + within + grace``; an event that comes after `within` and before that is
        counted as late.
    negatives_kept
        The share of the negatives that is learned from, more than 0 and at most 1; which ones their
        places in the log decide. Predictions stay probabilities of all the traffic
        (`freshrank.learner.models.reweighted.DownSampled`).
    listwise
        Whether the model learns the order of a list instead of the probability of each item: each
        event gives the item that it makes positive, and beside it, as not chosen, the other items
        of the same list that have not become positive before. Lists without an event give nothing,
        and nothing has to be corrected (`freshrank.learner.models.losses.PlackettLuceLoss`).

    >>> from freshrank.feature_actors.streams.expressions.column import col
    >>> Joined(positive=col.type == "order", on="item_id", within="30m").within_ms
    1800000
    """

    positive: Expression
    on: str
    within: str
    grace: str = "10s"
    negatives_kept: float = field(default=1.0, kw_only=True)
    listwise: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_condition(self.positive, "Joined.positive")
        _check_share(self.negatives_kept, "Joined.negatives_kept")
        if not isinstance(self.listwise, bool):
            raise ConfigError("Joined.listwise", f"{self.listwise!r} is no bool", "Write True.")
        if self.listwise and self.negatives_kept != 1.0:
            raise ConfigError(
                "Joined.negatives_kept",
                "a listwise label learns from whole lists, and this leaves items out",
                "Leave it out: lists without an event give no examples anyway.",
            )
        _ = self.within_ms, self.grace_ms

    @cached_property
    def within_ms(self) -> int:
        """`within` in milliseconds."""
        return duration_ms(self.within, "Joined.within")

    @cached_property
    def grace_ms(self) -> int:
        """`grace` in milliseconds; ``"0s"`` is allowed."""
        return 0 if self.grace == "0s" else duration_ms(self.grace, "Joined.grace")

    @property
    def delay_ms(self) -> int:
        """So long after it was shown an item waits for its event."""
        return self.within_ms + self.grace_ms

    @property
    def own_fields(self) -> frozenset[str]:
        """None: the label of a shown item comes from a later event, which is no input."""
        return frozenset()

    def fields_read(self) -> frozenset[str]:
        """All fields of an event that it depends on."""
        return self.positive.fields_read() | {self.on}

    def check(self, fields: Fields) -> None:
        """Raise ConfigError when it does not fit the stream's schema."""
        self.positive.check(fields, "Joined.positive")
        fields.require(self.on, "Joined.on", Kind.TEXT, Kind.INTEGER)

    def __repr__(self) -> str:
        # Without these two it is what fingerprints were made of before there were any.
        settings = f"positive={self.positive!r}, on={self.on!r}, within={self.within!r}"
        listwise = ", listwise=True" if self.listwise else ""
        further = f"{_share_text(self.negatives_kept)}{listwise}"
        return f"Joined({settings}, grace={self.grace!r}{further})"


@dataclass(frozen=True)
class Labelled:
    """Each event carries its own label; its features are those from just before it.

    Either `positive` or `target` is given.

    Parameters
    ----------
    positive
        Which events are positive: their label is 1, that of all others 0.
    among
        Which events become examples (None: all that are applied to the features).
    target
        For a regression the field of numbers that is the label, for `classes` the field of texts
        or integers. Events where it is None are no examples.
    negatives_kept
        As of `Joined`; of the events that are not `positive`.
    classes
        The values of `target` to tell apart, for a model of several classes
        (``SoftmaxRegression()``). Events with another value are no examples, and are counted.
    weight
        A field of numbers: an example counts as many times in the loss that is learned and in the
        quality that is told. Events where it is None, negative or not finite are no examples, and
        are counted.
    known_after
        How long after its event a label is known, such as whether a payment was a fraud: ``"7d"``.
        It is learned then, from the features of just before the event.

    >>> Labelled(target="kind", classes=["view", "cart", "order"]).class_names
    ('view', 'cart', 'order')
    """

    positive: Expression | None = None
    among: Expression | None = None
    target: str | None = None
    negatives_kept: float = field(default=1.0, kw_only=True)
    classes: Sequence[str | int] = field(default=(), kw_only=True)
    weight: str | None = field(default=None, kw_only=True)
    known_after: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_share(self.negatives_kept, "Labelled.negatives_kept")
        _check_classes(self.classes, self.target)
        if not isinstance(self.weight, str | None):
            raise ConfigError(
                "Labelled.weight", f"{self.weight!r} is no field", 'Name one: weight="amount".'
            )
        object.__setattr__(self, "classes", tuple(self.classes))
        _ = self.known_after_ms
        if (self.positive is None) == (self.target is None):
            raise ConfigError(
                "Labelled",
                "the label is either a condition or a number",
                "Give one of positive=... and target=...",
            )
        if self.positive is not None:
            _check_condition(self.positive, "Labelled.positive")
        if self.among is not None:
            _check_condition(self.among, "Labelled.among")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The `classes` as texts: what answers and reports call them."""
        return tuple(map(str, self.classes))

    @cached_property
    def known_after_ms(self) -> int:
        """`known_after` in milliseconds; 0 where the label is known with its event."""
        if self.known_after is None:
            return 0
        return duration_ms(self.known_after, "Labelled.known_after")

    @property
    def own_fields(self) -> frozenset[str]:
        """The fields that the label is made of: inputs that hold them would know it."""
        if self.positive is not None:
            return self.positive.fields_read()
        assert self.target is not None  # checked when it was made
        return frozenset([self.target])

    def fields_read(self) -> frozenset[str]:
        """All fields of an event that it depends on."""
        among = frozenset() if self.among is None else self.among.fields_read()
        return self.own_fields | among | ({self.weight} if self.weight is not None else frozenset())

    def check(self, fields: Fields) -> None:
        """Raise ConfigError when it does not fit the stream's schema."""
        if self.positive is not None:
            self.positive.check(fields, "Labelled.positive")
        if self.target is not None and not self.classes:
            self._check_number(self.target, fields)
        if self.target is not None and self.classes:
            found = fields.require(self.target, "Labelled.target", Kind.TEXT, Kind.INTEGER)
            for number, value in enumerate(self.classes):
                _check_class(value, found, f"Labelled.classes[{number}]")
        if self.among is not None:
            self.among.check(fields, "Labelled.among")
        if self.weight is not None:
            fields.require(self.weight, "Labelled.weight", Kind.INTEGER, Kind.NUMBER)

    def _check_number(self, target: str, fields: Fields) -> None:
        found = fields.require(target, "Labelled.target", Kind.INTEGER, Kind.NUMBER, Kind.TEXT)
        if found.kind is Kind.TEXT:
            raise ConfigError(
                "Labelled.target",
                f"the field {target!r} is str, and no classes of it are listed",
                'Name a field of int or float, or list its values: classes=["a", "b"].',
            )

    def __repr__(self) -> str:
        # Without a target it is what fingerprints were made of before there were targets.
        target = "" if self.target is None else f", target={self.target!r}"
        classes = f", classes={self.classes!r}" if self.classes else ""
        weight = f", weight={self.weight!r}" if self.weight else ""
        known = f", known_after={self.known_after!r}" if self.known_after else ""
        further = f"{target}{classes}{weight}{known}{_share_text(self.negatives_kept)}"
        return f"Labelled(positive={self.positive!r}, among={self.among!r}{further})"


def _check_classes(classes: object, target: str | None) -> None:
    """Raise ConfigError for what is no list of two or more different texts or integers."""
    place = "Labelled.classes"
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise ConfigError(place, f"{classes!r} is no list", 'Write classes=["a", "b"].')
    for number, value in enumerate(classes):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ConfigError(f"{place}[{number}]", f"{value!r} is no text and no integer", _TWO)
    if len(classes) > MOST_CLASSES:
        problem = f"{len(classes)} classes are more than {MOST_CLASSES}"
        raise ConfigError(place, problem, "Take the most frequent ones, and one for all others.")
    if classes and len({str(value) for value in classes}) < max(2, len(classes)):
        raise ConfigError(place, f"{list(classes)!r} are no different classes", _TWO)
    if classes and target is None:
        raise ConfigError(place, "no field has them", 'Name it: target="kind".')


_TWO = "List two or more different values of the target's field."


def _check_class(value: str | int, target: Field, place: str) -> None:
    if not isinstance(value, target.kind.value):
        raise ConfigError(
            place,
            f"{value!r} is no value of the field {target.name!r}, a {target.kind.value.__name__}",
            "List values of the field.",
        )
    if target.choices and value not in target.choices:
        fix = did_you_mean(value, target.choices, "It has:")
        raise ConfigError(place, f"the field {target.name!r} has no value {value!r}", fix)


def _check_share(share: object, place: str) -> None:
    if isinstance(share, bool) or not isinstance(share, float | int) or not 0.0 < share <= 1.0:
        raise ConfigError(
            place, f"{share!r} is no share of the negatives", "Give more than 0 and at most 1."
        )


def _share_text(share: float) -> str:
    return "" if share == 1.0 else f", negatives_kept={share!r}"


def _check_condition(value: object, place: str) -> None:
    if not isinstance(value, Expression):
        raise ConfigError(
            place, f"{value!r} is not a condition", 'Write one like col.type == "order".'
        )
