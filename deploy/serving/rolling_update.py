"""The rolling update of a running endpoint: new replicas take requests before old ones stop.

The file of the pipeline and the settings are read again. Only replicas are replaced: where shards
or the learner would have to change, too, the update is refused, and what runs goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.errors import ConfigError, FreshrankError
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.config import memory_budget
from freshrank.deploy.config.memory_budget import Memory
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.made_for import candidates_made_for
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.definitions.kept_definitions import KeptDefinitions
from freshrank.deploy.state.definitions.start_changes import Fate, start_changes
from freshrank.deploy.state.pinned_weights import keep_pinned
from freshrank.deploy.state.record_files.definitions_record import learned_otherwise, written
from freshrank.deploy.state.record_files.update_record import RECORD, UpdateOutcome, UpdateRefusal
from freshrank.serve.access.request_guard import check_start

Deployed: TypeAlias = tuple[PipelineFile, Settings]
"""What replicas are made of, as a user gives it."""

# Settings of the endpoint that all replicas and the proxy share, or that the run itself uses; with
# the value that leaves their choice to the start.
_AS_STARTED = {
    "host": None,
    "port": 0,
    "grpc_port": 0,
    "api_key": None,
    "tls_certificate_file": None,
    "tls_key_file": None,
}


class RollingUpdates:
    """Updates the replicas of a run, each time that it is asked to.

    Parameters
    ----------
    cluster
        What the present replicas are made of.
    read_again
        Gives what the next ones are made of. Raises ConfigError.
    deploy
        Replaces the replicas, and returns when all are up. Raises FreshrankError when they do not
        start; those of before go on then.
    memory
        That there is, which the replicas that are allowed next have to fit into; None: it is not
        known, of a cluster of others.
    log
        Takes a line for each step.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        read_again: Callable[[], Deployed],
        deploy: Callable[[ClusterSpec], Awaitable[None]],
        memory: Memory | None,
        alerts: AlertSink,
        log: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._read_again = read_again
        self._deploy = deploy
        self._memory = memory
        self._alerts = alerts
        self._log = log

    async def run(self, asked: asyncio.Event) -> None:
        """Update whenever `asked` is set, and record what became of it, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            began_s = time.monotonic()
            outcome = UpdateOutcome(began_s, self._cluster.file.path, await self.update())
            try:
                await asyncio.to_thread(RECORD.write, self._cluster.state, outcome, Disk())
            except OSError as error:
                self._log(f"`freshrank update` cannot be told what became of it: {error}")

    async def update(self) -> UpdateRefusal | None:
        """Update once, or report and return why not: what runs goes on in either case."""
        self._log("updating the replicas: pipeline and settings are read again")
        try:
            cluster = await asyncio.to_thread(self._next)
        except FreshrankError as error:
            return self._refused(str(error), error)
        try:
            await self._deploy(cluster)
        except FreshrankError as error:
            before = "the new replicas did not start, those of before go on"
            refusal = self._refused(f"{before}: {_first_line(error)}", error)
            await self._back()
            return refusal
        self._cluster = cluster
        self._log("the replicas are updated: all of them answer by what was read")
        return None

    def _next(self) -> ClusterSpec:
        cluster = updated(self._cluster, *self._read_again())
        pipeline = cluster.file.load()
        topics = cluster.partitions, cluster.candidate_partitions
        needed = memory_budget.needs(pipeline, cluster.settings, *topics)
        self._log(memory_budget.checked(pipeline, needed, self._memory))
        keep_pinned(cluster.state, pipeline, Disk())
        return cluster

    async def _back(self) -> None:
        """Let Serve replace what ends from now on by replicas of before, not by the new ones."""
        try:
            await self._deploy(self._cluster)
        except FreshrankError as error:
            reason = f"those of before did not start again either: {_first_line(error)}"
            self._refused(reason, error)

    def _refused(self, reason: str, error: FreshrankError) -> UpdateRefusal:
        what = f"the replicas are not updated, what runs goes on: {reason}"
        self._alerts.emit(AlertKind.UPDATE_REFUSED, Severity.ERROR, what)
        return UpdateRefusal(reason, mistake=isinstance(error, ConfigError))


def _first_line(error: FreshrankError) -> str:
    """What an error says, without the traceback that it may hold."""
    return str(error).partition("\n")[0]


def updated(cluster: ClusterSpec, file: PipelineFile, settings: Settings) -> ClusterSpec:
    """What the next replicas are made of. Raises ConfigError where others would have to change."""
    reasons = [
        *_of_settings(cluster.settings, settings),
        *_of_pipeline(cluster.file.load(), file.load()),
    ]
    if reasons:
        raise ConfigError(
            file.path if Path(file.path).exists() else "the update",
            f"not only replicas would have to change: {'; '.join(reasons)}",
            "Stop the run and start it again; `freshrank plan` says what it carries over.",
        )
    kept = {name: getattr(cluster.settings.serve, name) for name in _AS_STARTED}
    serve = settings.serve.model_copy(update=kept)
    check_start(serve)
    return replace(cluster, file=file, settings=settings.model_copy(update={"serve": serve}))


def _of_settings(before: Settings, now: Settings) -> Iterator[str]:
    """The settings that have changed and that replicas do not have alone."""
    for section in Settings.model_fields:
        was, there = getattr(before, section), getattr(now, section)
        if section == "serve":
            for name, chosen_at_start in _AS_STARTED.items():
                value = getattr(there, name)
                if value not in (chosen_at_start, getattr(was, name)):
                    yield f"serve.{name} has changed"
        elif was != there:
            names = type(was).model_fields if hasattr(type(was), "model_fields") else ()
            changed = [one for one in names if getattr(was, one) != getattr(there, one)]
            yield ", ".join([f"{section}.{one}" for one in changed] or [section]) + " has changed"


def _of_pipeline(before: Pipeline, now: Pipeline) -> Iterator[str]:
    """What differs between two pipelines that shards or the learner depend on."""
    if before.name != now.name:
        yield f"the pipeline's name was {before.name!r} and is {now.name!r}"
        return
    for part in start_changes(KeptDefinitions.of(before), now):
        for fate in Fate:
            names = [one.name for one in part.of(fate)]
            if names and fate is not Fate.KEEP:
                yield f"{part.part}: a start would {fate} {', '.join(names)}"
    yield from (
        f"the {name} has changed" for name in learned_otherwise(written(before), written(now))
    )
    if _shared(before) != _shared(now):
        yield "its streams, or the entities that candidates name"


def _shared(pipeline: Pipeline) -> list[str]:
    """All else that shards, the learner and replicas have to agree on."""
    return [
        pipeline.made_for.fingerprint,
        *(f"{stream.topic} {stream.partitioner}" for stream in pipeline.streams),
        *(
            f"{one.entity.name} {candidates_made_for(one).fingerprint}"
            for one in pipeline.candidate_plans
        ),
    ]
