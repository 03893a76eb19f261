import pytest

from freshrank.actors.messages import Version


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
