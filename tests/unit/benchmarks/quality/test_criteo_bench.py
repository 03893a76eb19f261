from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pytest

from freshrank.actors.errors import ConfigError
from freshrank.benchmarks.quality.criteo_bench import BASE_RATE, one_pass
from freshrank.benchmarks.quality.criteo_data import CATEGORIES, COUNTS, Criteo, load
from freshrank.learner.evaluation.metrics import exact_auc

Cell = list[float]


def write(path: Path, rows: int, **columns: list[Cell]) -> None:
    """One file of the sample's form: a list of at most one number in each cell."""
    names = [*COUNTS, *CATEGORIES, "label"]
    empty: list[Cell] = [[] for _ in range(rows)]
    cells = {name: columns.get(name, empty) for name in names}
    pyarrow.orc.write_table(
        pa.table(cells, pa.schema([(n, pa.list_(pa.float64())) for n in names])), path
    )


def test_counts_fall_into_powers_of_two_and_missing_ones_are_told_apart(tmp_path: Path) -> None:
    counts: list[Cell] = [[], [-1.0], [0.0], [1.0], [2.0], [3.0], [6.0], [7.0], [1000.0], [1001.0]]
    write(tmp_path / "part-0.orc", 10, i2=counts)
    ids = load(tmp_path).ids[:, 1].tolist()
    groups = [[0], [1], [2], [3, 4], [5, 6], [7], [8, 9]]
    assert [len({ids[at] for at in group}) for group in groups] == [1] * 7
    assert len(set(ids)) == 7
    assert 0 not in ids


def test_categories_keep_their_identity_by_column_and_stay_absent(tmp_path: Path) -> None:
    write(tmp_path / "part-0.orc", 3, c1=[[5.0], [6.0], []], c2=[[5.0], [], [5.0]])
    write(tmp_path / "part-1.orc", 1, c1=[[5.0]], label=[[1.0]])
    data = load(tmp_path)
    first, second = data.ids[:, 13], data.ids[:, 14]
    assert first[0] == first[3] != first[1]
    assert second[0] == second[2] != first[0]
    assert first[2] == second[1] == second[3] == 0
    assert data.labels.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_folder_without_the_sample_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no part-\*\.orc in it"):
        load(tmp_path)


@pytest.mark.parametrize(("name", "first"), [("", BASE_RATE), ("_untuned", 0.5), ("_deepfm", None)])
def test_one_pass_predicts_each_row_before_it_learns_it(name: str, first: float | None) -> None:
    random = np.random.default_rng(0)
    ids = random.integers(1, 50, (6_000, 39)) * 64 + np.arange(39)
    labels = (random.random(6_000) < np.where(ids[:, 0] // 64 % 2 == 1, 0.3, 0.02)).astype(
        np.float32
    )
    scores = one_pass(Criteo(ids, labels), name).scores
    if first is not None:
        assert scores[0] == pytest.approx(first, rel=1e-5)
    later = np.where(np.arange(6_000) < 256, labels, 1.0 - labels)
    others = one_pass(Criteo(ids, later), name).scores
    assert (others[:256] == scores[:256]).all(), "of labels that come later nothing is known"
    assert exact_auc(labels[3_000:], scores[3_000:]) > 0.6
