"""SIGKILL of a real process at random moments: the weights are those of one that never was."""

from __future__ import annotations

import random
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import lock_step_process
from lock_step_process import Began, Ended

# Processes that start at once, for the modules are there already; and none of them has been forked
# from this one, whose threads would be in the middle of something.
_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload([lock_step_process.__name__])

# Seconds from where one goes on until it is killed; a whole run takes one or two.
_KILLED_AFTER_S = (0.05, 0.5)
# At so many places, at least: else nothing is shown.
_KILLS, _LEAST_PLACES = 10, 4
# Seconds for a start or a whole run on a busy machine.
_PATIENCE_S = 60.0


class _Run:
    """One process, to its end or until it is killed."""

    def __init__(self, folder: Path) -> None:
        mine, its = _PROCESSES.Pipe(duplex=False)
        self._told: Connection = mine
        self._process: BaseProcess = _PROCESSES.Process(
            target=lock_step_process.work, args=(folder, its)
        )
        self._process.start()
        its.close()
        began = self._next()
        assert isinstance(began, Began)
        self.began = began

    def end(self) -> Ended:
        """Let it come to its end."""
        ended = self._next()
        assert isinstance(ended, Ended)
        self._process.join()
        return ended

    def ends_before(self, seconds: float) -> bool:
        """Whether it has come to its end meanwhile; else it is killed."""
        if self._told.poll(seconds):
            return True
        self._process.kill()
        self._process.join()
        return False

    def _next(self) -> object:
        assert self._told.poll(_PATIENCE_S), "it says nothing"
        return self._told.recv()


def test_weights_after_kills_at_random_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    wanted = _Run(tmp_path / "undisturbed").end()
    assert wanted.steps > 100 and len(wanted.features) > 10
    rng, begins = random.Random(), []
    for kill in range(_KILLS + 1):
        run = _Run(tmp_path / "killed")
        begins.append(run.began.events)
        if kill == _KILLS or run.ends_before(rng.uniform(*_KILLED_AFTER_S)):
            break
    ended = run.end()
    # Each went on where another had been, and they were killed at different places.
    assert begins == sorted(begins)
    assert len(set(begins)) >= _LEAST_PLACES
    assert ended.learned.keys() == wanted.learned.keys()
    differ = [name for name in wanted.learned if ended.learned[name] != wanted.learned[name]]
    assert differ == []
    assert ended == wanted
