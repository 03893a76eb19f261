import numpy as np
import pytest

from freshrank.learner.guard.change_point import sharpened


def ends(marks: str, losses: str, normal: float = 0.3) -> str:
    """Of ranges of ten examples: `!` marked, a digit for the tenths of each mean loss."""
    marked = np.array([mark == "!" for mark in marks])
    sums = np.array([float(digit) for digit in losses])
    found = sharpened(marked, np.full(len(sums), 10.0), sums, normal, 0.3)
    return "".join("!" if one else "." for one in found)


@pytest.mark.parametrize(
    ("marks", "losses", "found"),
    [
        ("...!!!..", "33333999", ".....!!!"),  # it had not been noticed yet
        ("..!!!...", "33499633", "...!!!.."),  # a range that was worse by chance before it
        ("..!!....", "33999933", "..!!!!.."),  # the last ones were taken for well again
        ("!!......", "99333333", "!!......"),
        ("......!!", "33333399", "......!!"),
        ("........", "33399333", "........"),  # nobody has found anything worse
        (".!!..!!.", "39933499", ".!!...!!"),  # two runs
        (".!.!....", "39993333", ".!!!...."),  # two that are one
    ],
)
def test_marks_end_where_the_loss_changed(marks: str, losses: str, found: str) -> None:
    assert ends(marks, losses) == found


def test_no_mark_stays_where_the_loss_is_no_worse_than_tolerated() -> None:
    assert ends(".!!!.", "34433") == "....."


def test_marks_stay_while_the_normal_loss_is_unknown() -> None:
    assert ends(".!!.", "3333", normal=0.0) == ".!!."


def test_ranges_of_any_size_count_by_their_examples() -> None:
    counts = np.array([100.0, 1.0, 100.0, 1.0])
    losses = counts * np.array([0.3, 1.5, 1.4, 0.2])
    marked = np.array([False, True, True, True])
    assert sharpened(marked, counts, losses, 0.3, 0.3).tolist() == [False, True, True, False]
