import io

from bench_figures import by_name
from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.robust import bench
from freshrank.benchmarks.robust.batch import STEPS, BatchCell, LearnerLine, batch_tables
from freshrank.benchmarks.robust.drift import SUITE, outcome_of
from freshrank.benchmarks.robust.learners import LEARNERS, Learning
from freshrank.benchmarks.robust.scale import UNITS, scale_table
from freshrank.benchmarks.robust.streams import PARTITIONS, RANGE

DEFAULT = LEARNERS[0]
PART = 32 * RANGE * PARTITIONS


def test_a_short_run_gives_every_table_and_counts_what_is_missed() -> None:
    shown = io.StringIO()
    found = by_name(bench.run(BenchOptions(scale=0.02), Console(file=shown, width=200)))
    for figure in (
        "scale_default_1e6_1e4x_auc",
        "drift_sign_flip_logistic_default_lost",
        "batch_logistic_default_1024x4_loss_off",
    ):
        assert found[figure].reach is not None
    for table in ("scale", "drift", "batch"):
        details = [one for name, one in found.items() if name.startswith(table) and one.detail]
        judged = [one for one in details if one.reach is not None]
        assert found[f"{table}_figures"].value == len(judged) > 0
        assert found[f"{table}_missed"].value == sum(not one.met for one in judged)
    assert found["batch_missed"].value > 0, "a step of 1,024 has not learned from 256 rows"
    for text in (*UNITS, *SUITE, *map(str, STEPS), "✗"):
        assert text in shown.getvalue()


def test_no_unit_of_the_number_is_worse_than_another() -> None:
    table = scale_table(6_000, ["default"])
    figures = by_name(list(table.figures()))
    aucs = [figures[f"scale_default_{unit}_auc"].value for unit in ("x", "x_1000", "1e6_1e4x")]
    assert max(aucs) - min(aucs) < 0.001
    assert table.truth.auc - 0.02 < min(aucs) < table.truth.auc


def test_no_row_of_an_honest_change_is_lost_and_poison_is() -> None:
    flip = outcome_of("sign flip", DEFAULT, PART)
    assert (flip.learned, flip.lost, flip.poison) == (2 * PART, 0, 0)
    assert flip.later > 0
    assert flip.loss < flip.base_loss
    burst = outcome_of("NaN inputs", DEFAULT, PART)
    assert (burst.lost, burst.poison_lost) == (0, burst.poison)
    assert burst.learned == 2 * PART


def test_a_cell_is_compared_with_steps_of_one_in_either_direction() -> None:
    cells = {(step, shards): BatchCell(0.8, 0.5, 0) for step in STEPS for shards in (1, 2, 4)}
    cells[64, 2] = BatchCell(0.806, 0.5, 0)
    cells[256, 1] = BatchCell(0.8, 0.479, 0)
    cells[1_024, 4] = BatchCell(0.781, 0.539, 3)
    line = LearnerLine(Learning("FM", "SGD"), cells)
    found = by_name(list(line.figures()))
    missed = [name for name, figure in found.items() if figure.met is False]
    assert missed == [
        "batch_fm_sgd_64x2_auc_off", "batch_fm_sgd_256x1_loss_off", "batch_fm_sgd_1024x4_refused",
    ]  # fmt: skip
    shown = io.StringIO()
    for table in batch_tables([line]):
        Console(file=shown, width=200).print(table)
    for text in ("0.8060 +0.0060 ✗", "0.4790 -4.2 % ✗", "0.7810 -0.0190 ", "0.5390 +7.8 % "):
        assert text in shown.getvalue()
