"""What a start is refused for before anything is started; `freshrank plan` asks the same."""

from __future__ import annotations

from freshrank.actors.clock import SystemClock
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.draft_state import check_finished
from freshrank.deploy.state.pinned_weights import check_pinned
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring.local import LocalParts, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.access.certificate import Certificate, read_certificate
from freshrank.serve.access.request_guard import RequestGuard, check_start
from freshrank.serve.app import routes_of


def check_settings(settings: Settings) -> Certificate | None:
    """Return the endpoint's certificate. Raises ConfigError where its settings let it not start."""
    check_start(settings.serve)
    return read_certificate(settings.serve)


def check_served(pipeline: Pipeline, settings: Settings) -> None:
    """Make the routes of a replica and their document; raises what keeps a replica from starting.

    Nothing is connected to: the replica is one in memory.
    """
    parts = LocalParts(pipeline, settings, World(MemoryLog(1), SystemClock()))
    _, learner = parts.learner()
    routes_of(parts.replica(learner), RequestGuard(settings.serve))


def check_state(folder: StateFolder, pipeline: Pipeline) -> None:
    """Raise ConfigError where a start is refused for what `folder` holds, or lies beside it."""
    check_finished(folder)
    if folder.path.is_dir():
        folder.check(pipeline)
    check_pinned(folder.path, pipeline)
