"""The states of a run, from its checks to its end, and what has to be stopped on the way."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from freshrank.actors.errors import ProgressError


class RunState(Enum):
    """What a run does at present."""

    CHECKING = "checking"
    """Nothing has been started yet, so that a mistake of the user costs nothing."""
    PREPARING = "preparing"
    """Kafka, Redis and Ray start or are connected to; topics are created."""
    STARTING = "starting"
    """The actors and the endpoint start."""
    RUNNING = "running"
    STOPPING = "stopping"
    """All that was started is stopped, in order."""
    STOPPED = "stopped"


TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.CHECKING: frozenset({RunState.PREPARING}),
    RunState.PREPARING: frozenset({RunState.STARTING, RunState.STOPPING}),
    RunState.STARTING: frozenset({RunState.RUNNING, RunState.STOPPING}),
    RunState.RUNNING: frozenset({RunState.STOPPING}),
    RunState.STOPPING: frozenset({RunState.STOPPED}),
    RunState.STOPPED: frozenset(),
}
"""The states that may follow each; a run that is refused while CHECKING ends there."""


class Component(Enum):
    """What a run stops in order at its end; all else ends with the driver or with Ray."""

    ACTORS = "actors"
    """The learner and the shards, which write their state."""
    REPLICAS = "replicas"
    """They answer the requests that they have accepted."""
    RAY = "ray"
    """The connection to it. Not made by this run, it is left as it is: Ray knows one a process."""


class Lifecycle:
    """The state of one run, and the components that have to be stopped."""

    def __init__(self) -> None:
        self.state = RunState.CHECKING
        self._to_stop: set[Component] = set()

    def enter(self, state: RunState) -> None:
        """Change the state. Raises ProgressError when `state` may not follow the present one."""
        if state not in TRANSITIONS[self.state]:
            raise ProgressError(f"a run that is {self.state.value} cannot be {state.value} next")
        self.state = state

    def started(self, component: Component) -> None:
        """Note that `component` has to be stopped at the end."""
        self._to_stop.add(component)

    def must_stop(self, component: Component) -> bool:
        """Tell whether `component` has been started."""
        return component in self._to_stop
