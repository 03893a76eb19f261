"""`freshrank update`: who is asked, what is told, and the exit status."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from mistakes import RIGHT

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.commands import update
from freshrank.deploy.commands.update import run_update
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.state.record_files.update_record import RECORD, UpdateOutcome, UpdateRefusal
from freshrank.deploy.state.state_folder import StateFolder

FILE = Path("songs.py")
STATE = Path(".freshrank/songs")
DIFFERS = UpdateRefusal("features of 'user' from 'plays': a start would add count", mistake=True)
NOT_STARTED = UpdateRefusal("the new replicas did not start", mistake=False)


class Run:
    """This process as a run that holds the state folder; `asked` is called when it is asked."""

    def __init__(self) -> None:
        self.asked: Callable[[], None] = lambda: None
        self._held = StateFolder(STATE, "kafka:9092").held()

    def __enter__(self) -> Run:
        self._held.__enter__()
        self._before = signal.signal(signal.SIGUSR1, lambda number, frame: self.asked())
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGUSR1, self._before)
        self.end()

    def end(self) -> None:
        self._held.__exit__(None, None, None)

    def record(self, refusal: UpdateRefusal | None = None, later_s: float = 0.0) -> None:
        outcome = UpdateOutcome(time.monotonic() + later_s, "/shop/songs.py", refusal)
        RECORD.write(STATE, outcome, Disk())


@pytest.fixture(autouse=True)
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FILE.write_text(RIGHT)


@pytest.fixture
def run() -> Iterator[Run]:
    with Run() as run:
        yield run


def never(seconds: float) -> None:
    raise AssertionError(f"it waits {seconds} s for nothing")


def test_the_run_of_the_pipeline_is_asked_and_an_update_is_told(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.asked = run.record
    run_update(FILE, Settings(), never)
    asked, updated = capsys.readouterr().out.splitlines()
    assert f"process {os.getpid()} is asked" in asked
    assert updated == "the replicas are updated: all of them answer by /shop/songs.py"


@pytest.mark.parametrize(
    ("refusal", "status"), [(DIFFERS, 2), (NOT_STARTED, 1)], ids=["mistake", "failed start"]
)
def test_a_refusal_is_printed_with_what_differs_and_has_its_status(
    run: Run, refusal: UpdateRefusal, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run.asked = lambda: run.record(refusal)
    with pytest.raises(typer.Exit) as ended:
        run_update(FILE, Settings(), never)
    assert ended.value.exit_code == status
    assert refusal.reason in capsys.readouterr().err


def test_what_an_update_before_has_become_is_no_answer(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.record(DIFFERS, later_s=-60.0)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            run.record()

    run_update(FILE, Settings(), wait)
    assert len(waits) == 3
    assert "the replicas are updated" in capsys.readouterr().out


def test_a_run_that_ends_meanwhile_is_an_error(run: Run) -> None:
    run.asked = run.end
    with pytest.raises(Unavailable, match="ended before its replicas were updated"):
        run_update(FILE, Settings(), never)


@pytest.mark.usefixtures("run")
def test_a_run_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(update, "LONGEST_S", 0.0)
    with pytest.raises(Unavailable, match="nothing is known of the update"):
        run_update(FILE, Settings(), never)


def test_without_a_run_nobody_is_asked_and_the_folder_is_named() -> None:
    with pytest.raises(ConfigError, match="no run keeps its state there") as refused:
        run_update(FILE, Settings(), never)
    assert refused.value.place == str(STATE.absolute())


@pytest.mark.parametrize("holder", ["process {other} of here", "process 1{own} of here", "half of"])
def test_no_process_is_signalled_that_does_not_hold_the_lock(run: Run, holder: str) -> None:
    run.asked = lambda: never(0.0)
    (STATE / "lock").write_text(holder.format(other=os.getppid(), own=os.getpid()))
    with pytest.raises(ConfigError, match="no such process of yours"):
        run_update(FILE, Settings(), never)


def test_a_file_that_is_wrong_is_refused_before_anybody_is_asked(run: Run) -> None:
    run.asked = lambda: never(0.0)
    FILE.write_text("pipeline = 1\n")
    with pytest.raises(ConfigError, match="Pipeline"):
        run_update(FILE, Settings(), never)
