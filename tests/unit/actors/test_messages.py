import pytest

from freshrank.actors.messages import IdField, InputLayout, Version, dominates


def test_versions_are_ordered_by_epoch_before_step() -> None:
    assert sorted([Version(2, 0), Version(1, 9), Version(1, 10)]) == [
        Version(1, 9),
        Version(1, 10),
        Version(2, 0),
    ]


def test_a_version_survives_its_text_form() -> None:
    assert Version.parse(str(Version(3, 1204))) == Version(3, 1204)


@pytest.mark.parametrize("text", ["", "1", "1.2.3", "a.b", "1.x"])
def test_a_text_that_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Version.parse(text)


def test_a_cut_covers_another_only_if_it_does_so_in_every_topic() -> None:
    assert dominates((4, 7), (4, 7))
    assert dominates((5, 7), (4, 7))
    assert not dominates((5, 6), (4, 7))


def test_cuts_over_different_topics_are_not_comparable() -> None:
    with pytest.raises(ValueError):
        dominates((1,), (1, 2))


def test_the_id_width_of_a_layout_counts_the_columns_of_bags() -> None:
    layout = InputLayout(("price",), (IdField("item_id"), IdField("recent", 20)))
    assert layout.id_width == 21
