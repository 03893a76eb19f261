from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from freshrank.learner.tensorboard_log import TensorBoardLog


def test_every_number_of_the_status_becomes_a_point_of_its_curve(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path / "curves")
    log.write(7, 1_500, {"auc": 0.75, "steps": 12, "version": "1.2", "log_loss": None, "ok": True})
    log.write(8, 2_500, {"auc": 0.8})
    log.close()
    (file,) = (tmp_path / "curves").iterdir()
    found = [
        (event.step, event.wall_time, value.tag, value.simple_value)
        for event in LegacyEventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]
    assert found == [
        (7, 1.5, "learner/auc", 0.75),
        (7, 1.5, "learner/steps", 12.0),
        (8, 2.5, "learner/auc", pytest.approx(0.8)),
    ]


def test_the_learner_imports_neither_torch_nor_ray() -> None:
    program = """
import sys
from freshrank.learner import actor, checkpoints, core, differentiator, models, tensorboard_log
print(sorted({"torch", "ray", "tensorflow"} & set(sys.modules)))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert shown.stdout.strip() == "[]"
