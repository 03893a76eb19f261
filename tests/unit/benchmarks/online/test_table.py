import io
import math
from pathlib import Path

import numpy as np
import pytest
from bench_figures import by_name
from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.module_process import run_script
from freshrank.benchmarks.online import own_learners, peer_runs
from freshrank.benchmarks.online.quality import StreamQuality, quality
from freshrank.benchmarks.online.table import OnlineTable, StreamLine
from freshrank.benchmarks.peers import peer_learners

OWN, PEERS = list(own_learners.LEARNERS), list(peer_learners.LEARNERS)
SECONDS = dict.fromkeys([*OWN, *PEERS], 1.0)


def line(name: str, own: float, peer: float, loss: float = 0.5) -> StreamLine:
    found = {one: StreamQuality(own, loss) for one in OWN}
    found |= {one: StreamQuality(peer, 0.6) for one in PEERS}
    return StreamLine(name, "binary", 100, found, SECONDS)


def test_an_auc_behind_the_best_linear_peer_is_missed() -> None:
    found = by_name(list(OnlineTable([line("a", 0.70, 0.71), line("b", 0.80, 0.79)]).figures()))
    assert found["auc_behind_a_linear_1"].value == pytest.approx(0.01)
    assert found["auc_behind_a_linear_1"].met is False
    assert found["auc_behind_b_linear_64"].value == 0.0
    assert found["auc_behind_b_linear_64"].met


def test_a_peer_that_is_not_linear_is_no_measure_of_a_linear_model() -> None:
    one = line("a", 0.70, 0.70)
    ahead = {**one.quality, "river_arf": StreamQuality(0.9, 0.3)}
    found = by_name(list(OnlineTable([one._replace(quality=ahead)]).figures()))
    assert found["auc_behind_a_linear_1"].value == 0.0


def test_a_rank_is_judged_beside_the_peers_alone() -> None:
    table = OnlineTable([line("a", 0.70, 0.71), line("b", 0.80, 0.79), line("c", 0.80, 0.79)])
    found = by_name(list(table.figures()))
    # One of ours and six peers that are alike: last in one stream, first in two.
    assert found["rank_fm_1"].value == pytest.approx((7.0 + 1.0 + 1.0) / 3.0)
    assert found["rank_fm_1"].reach == pytest.approx((3.5 + 4.5 + 4.5) / 3.0)
    assert found["rank_fm_1"].met
    assert found["log_loss_rank_fm_1"].value == 1.0


def test_errors_of_numbers_rank_from_the_smallest_and_have_no_log_loss() -> None:
    each = {name: StreamQuality(2.0, math.nan) for name in PEERS}
    each |= {name: StreamQuality(1.0, math.nan) for name in OWN}
    numbers = StreamLine("n", "number", 10, each, SECONDS)
    found = by_name(list(OnlineTable([numbers, line("a", 0.8, 0.7)]).figures()))
    assert found["rank_linear_1"].value == 1.0
    assert found["mae_n_linear_1"].better == "lower"
    assert "log_loss_n_linear_1" not in found
    assert "auc_behind_n_linear_1" not in found


def test_the_tables_show_every_learner_and_stream() -> None:
    shown = io.StringIO()
    for table in OnlineTable(
        [line("apples", 0.8, 0.7), line("pears", 0.6, 0.8), line("figs", 0.6, 0.8)]
    ).tables():
        Console(file=shown, width=250).print(table)
    for text in (*OWN, *PEERS, "apples", "pears", "log loss", "seconds", "✗"):
        assert text in shown.getvalue()


def test_what_the_script_has_written_is_read(tmp_path: Path) -> None:
    for name in PEERS:
        text = '{"seconds": 2.5, "predictions": [0.5, NaN]}'
        (tmp_path / f"s.{name}.json").write_text(text, encoding="utf-8")
    found = peer_runs.written(tmp_path, "s")
    assert set(found) == set(PEERS)
    assert found["vw"].seconds == 2.5
    np.testing.assert_array_equal(found["vw"].predictions, [0.5, np.nan])
    worst = quality("binary", np.array([0, 1], np.float32), found["vw"].predictions)
    assert worst.log_loss > 8.0


def test_a_script_that_fails_says_why() -> None:
    with pytest.raises(Unavailable, match="invalid choice"):
        run_script(peer_runs.SCRIPT, ["dance"])


def test_quality_of_classes_is_accuracy_and_the_log_loss_of_the_true_one() -> None:
    predictions = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    found = quality("class", np.array([0, 2], np.float32), predictions)
    assert found.value == 0.5
    assert found.log_loss == pytest.approx(-(math.log(0.7) + math.log(0.25)) / 2)
