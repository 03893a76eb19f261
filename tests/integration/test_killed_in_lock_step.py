"""SIGKILL of a real process at random moments: the weights are those of one that never was."""

from __future__ import annotations

import random
import time
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

# Steps from where one goes on until it is killed, and seconds into the next, which takes some
# milliseconds. A whole run has 180: more than all kills need; each fifth ends with a checkpoint.
_KILLED_AFTER_STEPS, _KILLED_WITHIN_S = 15, 0.01
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
        while not isinstance(told := self._next(), Ended):
            pass
        self._process.join()
        return told

    def kill(self, steps: int, seconds: float) -> None:
        """Let it take so many steps, and end so long after the last one."""
        for _ in range(steps):
            assert isinstance(self._next(), int), "it came to its end"
        time.sleep(seconds)
        self._process.kill()
        self._process.join()

    def _next(self) -> object:
        assert self._told.poll(_PATIENCE_S), "it says nothing"
        return self._told.recv()


def test_weights_after_kills_at_random_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    wanted = _Run(tmp_path / "undisturbed").end()
    assert wanted.steps > 100 and len(wanted.features) > 10
    rng, begins = random.Random(), []
    for _ in range(_KILLS):
        run = _Run(tmp_path / "killed")
        begins.append(run.began.events)
        run.kill(rng.randint(1, _KILLED_AFTER_STEPS), rng.uniform(0.0, _KILLED_WITHIN_S))
    ended = _Run(tmp_path / "killed").end()
    # Each went on where another had been, and they were killed at different places.
    assert begins == sorted(begins)
    assert len(set(begins)) >= _LEAST_PLACES
    assert ended.learned.keys() == wanted.learned.keys()
    differ = [name for name in wanted.learned if ended.learned[name] != wanted.learned[name]]
    assert differ == []
    assert ended == wanted
