from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from freshrank.actors.snapshots.disk import Disk, Piece
from freshrank.learner.tensorboard_log import TensorBoardLog


def test_every_number_of_the_status_becomes_a_point_of_its_curve(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path / "curves")
    log.write(7, 1_500, {"auc": 0.75, "steps": 12, "version": "1.2", "log_loss": None, "ok": True})
    log.write(8, 2_500, {"auc": 0.8})
    assert points(tmp_path / "curves") == [
        (7, 1.5, "learner/auc", 0.75),
        (7, 1.5, "learner/steps", 12.0),
        (8, 2.5, "learner/auc", pytest.approx(0.8)),
    ]


@pytest.mark.parametrize("at", [0, 1], ids=["the first", "a later one"])
def test_a_point_that_does_not_fit_is_lost_and_no_other_is(tmp_path: Path, at: int) -> None:
    log = TensorBoardLog(tmp_path, FullAt(at))
    for step in range(3):
        with contextlib.suppress(OSError):
            log.write(step, 1_000 * step, {"auc": 0.5})
    assert [step for step, *_ in points(tmp_path)] == [step for step in range(3) if step != at]


class FullAt(Disk):
    """A disk that refuses one write of them all."""

    def __init__(self, at: int) -> None:
        self.at = at

    def append(self, path: Path, contents: Piece) -> None:
        self.at -= 1
        if self.at == -1:
            raise OSError(28, "No space left on device")
        super().append(path, contents)


def points(folder: Path) -> list[tuple[int, float, str, float]]:
    """All that TensorBoard reads in the one file."""
    (file,) = folder.iterdir()
    events = list(LegacyEventFileLoader(str(file)).Load())
    assert events[0].file_version == "brain.Event:2"
    return [
        (event.step, event.wall_time, value.tag, value.simple_value)
        for event in events
        for value in event.summary.value
    ]


def test_the_learner_imports_neither_torch_nor_ray() -> None:
    program = """
import sys
from freshrank.learner import actor, checkpoints, core, tensorboard_log
from freshrank.learner.gradients import compiled
from freshrank.learner.models import deepfm
print(sorted({"torch", "ray", "tensorflow"} & set(sys.modules)))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert shown.stdout.strip() == "[]"
