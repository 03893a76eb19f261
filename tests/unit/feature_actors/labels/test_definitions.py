from collections.abc import Callable
from typing import Any, cast

import pytest
from small_shop import events

from freshrank import col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.labels.definitions import Joined, Labelled

ORDERED = col.type == "order"


def test_durations_are_read_and_grace_may_be_nothing() -> None:
    label = Joined(positive=ORDERED, on="item", within="30m", grace="0s")
    assert (label.within_ms, label.grace_ms) == (1_800_000, 0)
    label.check(events.fields)


def test_equal_labels_look_equal_for_a_fingerprint() -> None:
    one, other = (Joined(positive=col.type == "order", on="item", within="30m") for _ in "ab")
    assert repr(one) == repr(other)
    assert repr(one) != repr(Joined(positive=ORDERED, on="item", within="31m"))


def test_a_label_without_a_target_looks_as_before_there_were_targets() -> None:
    """Fingerprints of snapshots are made of it."""
    assert repr(Labelled(ORDERED)) == f"Labelled(positive={ORDERED!r}, among=None)"
    assert "target='price'" in repr(Labelled(target="price"))


def test_classes_are_a_part_of_what_it_looks_like() -> None:
    label = Labelled(target="type", classes=["view", "order"])
    assert repr(label).endswith("target='type', classes=('view', 'order'))")
    label.check(events.fields)
    assert label.own_fields == {"type"}


def test_a_weight_is_a_part_of_what_it_looks_like_where_there_is_one() -> None:
    label = Labelled(ORDERED, weight="price")
    assert "weight='price'" in repr(label) and "weight" not in repr(Labelled(ORDERED))
    label.check(events.fields)


def test_a_delay_is_a_part_of_what_it_looks_like_where_there_is_one() -> None:
    label = Labelled(ORDERED, known_after="7d")
    assert label.known_after_ms == 7 * 86_400_000
    assert "known_after='7d'" in repr(label) and "known" not in repr(Labelled(ORDERED))
    assert Labelled(ORDERED).known_after_ms == 0


def test_a_label_without_a_share_looks_as_before_negatives_were_sampled() -> None:
    before = f"Joined(positive={ORDERED!r}, on='item', within='30m', grace='10s')"
    assert repr(Joined(positive=ORDERED, on="item", within="30m")) == before
    sampled = Joined(positive=ORDERED, on="item", within="30m", negatives_kept=0.1)
    assert repr(sampled) == f"{before[:-1]}, negatives_kept=0.1)"
    assert "negatives_kept=0.1" in repr(Labelled(ORDERED, negatives_kept=0.1))
    of_lists = Joined(positive=ORDERED, on="item", within="30m", listwise=True)
    assert repr(of_lists) == f"{before[:-1]}, listwise=True)"


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: Joined(positive=ORDERED, on="item", within="soon"), r"Joined\.within"),
        (lambda: Joined(positive=ORDERED, on="item", within="0s"), r"Joined\.within"),
        (lambda: Joined(positive=ORDERED, on="item", within="1m", grace="-1s"), r"Joined\.grace"),
        (lambda: Joined(positive=cast(Any, True), on="item", within="1m"), r"Joined\.positive"),
        (
            lambda: Joined(positive=ORDERED, on="item", within="1m", listwise=cast(Any, "yes")),
            r"Joined\.listwise",
        ),
        (
            lambda: Joined(ORDERED, "item", "1m", negatives_kept=0.5, listwise=True),
            r"Joined\.negatives_kept: .* whole lists",
        ),
        (lambda: Labelled(positive=cast(Any, "order")), r"Labelled\.positive"),
        (lambda: Labelled(positive=ORDERED, among=cast(Any, 1)), r"Labelled\.among"),
        (lambda: Labelled(ORDERED, negatives_kept=0.0), r"Labelled\.negatives_kept"),
        (lambda: Labelled(ORDERED, negatives_kept=True), r"Labelled\.negatives_kept"),
        (lambda: Labelled(ORDERED, negatives_kept=1.5), r"Labelled\.negatives_kept"),
        (lambda: Labelled(ORDERED, negatives_kept=cast(Any, "all")), r"Labelled\.negatives_kept"),
        (Labelled, r"Labelled: .* Give one of positive=\.\.\. and target="),
        (lambda: Labelled(positive=ORDERED, target="price"), "Labelled: .* Give one of"),
        (lambda: Labelled(target="type", classes="abc"), r"Labelled\.classes: 'abc' is no list"),
        (lambda: Labelled(target="type", classes=["a"]), r"Labelled\.classes: .* two or more"),
        (lambda: Labelled(target="type", classes=range(1_001)), r"1001 classes are more than 1000"),
        (lambda: Labelled(target="type", classes=["a", "a"]), r"Labelled\.classes: "),
        (lambda: Labelled(target="type", classes=["a", cast(Any, 1.5)]), r"classes\[1\]: 1\.5 is"),
        (lambda: Labelled(ORDERED, classes=["a", "b"]), r"Labelled\.classes: no field has them"),
        (lambda: Labelled(target="type", classes=[1, 2]).check(events.fields), r"classes\[0\]"),
        (lambda: Labelled(target="price", classes=["a", "b"]).check(events.fields), r"\.target"),
        (lambda: Labelled(ORDERED, weight=cast(Any, 2.0)), r"Labelled\.weight: 2\.0 is no field"),
        (lambda: Labelled(ORDERED, weight="user").check(events.fields), r"Labelled\.weight"),
        (lambda: Labelled(ORDERED, weight="prices").check(events.fields), "Did you mean 'price'"),
        (lambda: Labelled(target="colour").check(events.fields), r"Labelled\.target"),
        (lambda: Labelled(target="user").check(events.fields), r"Labelled\.target"),
        (lambda: Joined(positive=ORDERED, on="color", within="1m").check(events.fields), "on"),
        (lambda: Joined(positive=ORDERED, on="price", within="1m").check(events.fields), "on"),
        (lambda: Labelled(positive=col.kind == "x").check(events.fields), "kind"),
        (lambda: Labelled(ORDERED, among=col.kind == "x").check(events.fields), "kind"),
    ],
)
def test_what_does_not_fit_names_its_place(make: Callable[[], object], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        make()
