import json
from pathlib import Path

import pytest

from freshrank.benchmarks.peers import peer_learners
from freshrank.benchmarks.peers.peer_learners import Inputs, Label, Prediction


class RunningRate:
    """The share of ones among the rows before."""

    def __init__(self) -> None:
        self._ones, self._rows = 1.0, 2.0

    def predict(self, inputs: Inputs) -> Prediction:
        return self._ones / self._rows

    def learn(self, inputs: Inputs, label: Label) -> None:
        self._ones, self._rows = self._ones + label, self._rows + 1.0


def test_each_row_is_predicted_before_it_is_learned() -> None:
    rows: list[tuple[Inputs, Label]] = [({"x": 1.0}, 1.0), ({}, 1.0), ({}, 0.0)]
    assert peer_learners.learned(RunningRate(), rows) == [0.5, 2 / 3, 0.75]


def test_what_is_predicted_lies_beside_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer_learners, "LEARNERS", {"rate": lambda kind, classes: RunningRate()})
    path = tmp_path / "coins.jsonl"
    lines = peer_learners.stream_lines([({"x": 1.0}, True), ({"x": "a"}, False)])
    path.write_text("\n".join(lines), encoding="utf-8")
    peer_learners.learn_stream(path, ["rate"])
    found = json.loads((tmp_path / "coins.rate.json").read_text(encoding="utf-8"))
    assert found["predictions"] == [0.5, 2 / 3]
    assert found["seconds"] > 0.0
    assert "coins, rate: 2 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "head", "written"),
    [
        ([True, False], {"kind": "binary", "classes": []}, [1.0, 0.0]),
        ([2, 1.5], {"kind": "number", "classes": []}, [2.0, 1.5]),
        (["sky", "path"], {"kind": "class", "classes": ["path", "sky"]}, [1, 0]),
    ],
)
def test_the_kind_of_a_stream_is_that_of_its_labels(
    labels: list[object], head: dict[str, object], written: list[float]
) -> None:
    first, *rows = peer_learners.stream_lines([({"x": 1}, label) for label in labels])
    assert json.loads(first) == head
    assert [json.loads(row) for row in rows] == [[{"x": 1}, one] for one in written]


def test_each_learner_has_its_lines_of_code_counted() -> None:
    found = peer_learners.lines_of_code()
    assert set(found) == set(peer_learners.LEARNERS)
    assert min(found.values()) >= 10
    assert found["vw"] == found["vw_ftrl"]
