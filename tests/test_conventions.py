"""The code keeps to what CONTRIBUTING says of it, and each rule is shown a break that it sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from conventions import (
    FILE_LINES,
    FUNCTION_LINES,
    left_over,
    private_names,
    too_long,
    twice_named,
    without_assertion,
)

ROOT = Path(__file__).parent.parent


def test_files_and_functions_are_short() -> None:
    assert too_long(ROOT) == []


def test_no_two_classes_have_one_name() -> None:
    assert twice_named(ROOT) == []


def test_tests_use_public_names_only() -> None:
    assert private_names(ROOT) == []


def test_each_test_asserts() -> None:
    assert without_assertion(ROOT) == []


def planted(root: Path, file: str, text: str) -> Path:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return root


def test_a_long_file_is_seen(tmp_path: Path) -> None:
    assert too_long(planted(tmp_path, "serve/app.py", "x = 1\n" * (FILE_LINES - 1))) == []
    planted(tmp_path, "serve/app.py", "x = 1\n" * FILE_LINES)
    assert too_long(tmp_path) == [f"serve/app.py:1: {FILE_LINES} lines"]


def test_a_long_function_is_seen_and_its_docstring_does_not_count(tmp_path: Path) -> None:
    docstring = '    """A sum.\n\n    Of x.\n    """\n'
    body = "def total(x):\n" + docstring + "    x += 1\n" * (FUNCTION_LINES - 1)
    method = "class Total:\n" + "".join(f"    {line}\n" for line in body.splitlines())
    planted(tmp_path, "learner/core.py", f"{body}\n\n{method}")
    (function, inner) = too_long(tmp_path)
    assert function == f"learner/core.py:1: total has {FUNCTION_LINES} lines"
    assert inner.endswith(f": total has {FUNCTION_LINES} lines")
    planted(tmp_path, "learner/core.py", body.replace("    x += 1\n", "", 1))
    assert too_long(tmp_path) == []


def test_a_name_of_two_classes_is_seen(tmp_path: Path) -> None:
    planted(tmp_path, "learner/core.py", "class Rates: ...\n")
    planted(tmp_path, "serve/app.py", "def made():\n    class Rates: ...\n")
    assert twice_named(tmp_path) == ["serve/app.py:2: Rates stands in learner/core.py:1, too"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from freshrank.learner.core import _step", "freshrank.learner.core._step"),
        ("x = learner._rows", "learner._rows"),
        ("x = self.learner._rows", "self.learner._rows"),
        ("monkeypatch.setattr(core, '_STEPS', 1)", "_STEPS"),
        (
            "monkeypatch.setattr('freshrank.learner.core._STEPS', 1)",
            "freshrank.learner.core._STEPS",
        ),
        ("x = getattr(learner, '_rows')", "_rows"),
    ],
)
def test_a_private_name_is_seen(tmp_path: Path, line: str, name: str) -> None:
    planted(tmp_path, "tests/unit/test_core.py", line)
    assert private_names(tmp_path) == [f"tests/unit/test_core.py:1: {name}"]


def test_a_tests_own_private_names_are_its_own(tmp_path: Path) -> None:
    planted(
        tmp_path,
        "tests/unit/test_core.py",
        "class Fake:\n    def f(self):\n        return self._x, self.__len__, row._replace(a=1)\n",
    )
    assert private_names(tmp_path) == []


ASSERTING = [
    "assert x",
    "with pytest.raises(ValueError):\n        f()",
    "np.testing.assert_allclose(x, y)",
    "agree(x)",
    "by_way_of_another(x)",
    "world.agrees()",
    "if x:\n        pytest.fail('x')",
]


@pytest.mark.parametrize(
    ("body", "asserts"),
    [*((body, True) for body in ASSERTING), ("f(x)", False), ("world.step()", False), ("", False)],
)
def test_a_test_that_asserts_nothing_is_seen(tmp_path: Path, body: str, asserts: bool) -> None:
    planted(
        tmp_path, "tests/support/world.py", "class W:\n    def agrees(self):\n        assert 1\n"
    )
    planted(
        tmp_path,
        "tests/unit/test_core.py",
        "def agree(x):\n    assert x\n\n\ndef by_way_of_another(x):\n    agree(x)\n\n\n"
        f"async def test_it():\n    {body or 'pass'}\n",
    )
    found = without_assertion(tmp_path)
    assert found == ([] if asserts else ["tests/unit/test_core.py:9: test_it"])


def test_nothing_is_left_to_be_done_later() -> None:
    assert left_over(ROOT) == []


def test_a_left_over_mark_is_seen(tmp_path: Path) -> None:
    mark = "TO" + "DO"
    planted(tmp_path, "docs/guide.md", f"# A guide\n\n{mark}: write it\n")
    planted(tmp_path, "serve/app.py", f'"""{mark}-DOC."""\n')
    assert left_over(tmp_path) == [f"serve/app.py:1: {mark}", f"docs/guide.md:3: {mark}"]
