"""The memory that a pipeline may come to need, compared with the machine before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.pipelines.experiments import samples_weights
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.partition.backpressure import MAX_LABEL_EVENTS, MAX_PENDING_ITEMS
from freshrank.feature_actors.state import dedup
from freshrank.feature_actors.state.row_table import ROOM
from freshrank.feature_actors.state.table_copy import SPARE
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.serve.settings import ServeSettings

# Bytes of the processes themselves: Ray, Serve, HAProxy and the driver, and each part of ours
# (measured: 1.74 GB in all with one shard and one replica, shared pages counted once).
_BASE_BYTES, _PART_BYTES = 880_000_000, 180_000_000
# Parts besides shards and replicas: the learner, and the hot standbys for it and for the shards.
_OTHER_PARTS = 3
# Bytes of an entity besides its row: its name and its key in the store as Python objects, with
# their places in lists (170), and 16 for each of about 4 places of the hash table.
_ENTITY_BYTES = 235
# Bytes in Redis of an entity besides its row: key, entry, and what its allocator rounds up.
_STORED_BYTES = 200
# Bytes of an example besides its inputs: order, label, time, weight.
_EXAMPLE_BYTES = 24
# Bytes of a row that waits in a pool: a cell, and its place in the index.
_CELL_BYTES = 40
# Bytes of a row of the learner's table besides its weights: id and age, and places in the index.
_ROW_BYTES, _INDEX_BYTES = 16, 14

_ENTITIES = "shards.max_entities_per_partition"


@dataclass(frozen=True, slots=True)
class Need:
    """The memory of one thing when it has grown to its bound."""

    what: str
    bytes: int
    setting: str = ""
    """Name of the setting that bounds it."""
    value: int = 0
    """Of that setting."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that may be used."""

    bytes: int
    where: str
    """What limits it: the machine, a control group or the setting."""


def needs(
    pipeline: Pipeline,
    settings: Settings,
    partitions: int,
    candidate_partitions: Mapping[str, int] | None = None,
) -> list[Need]:
    """List all memory that a system on one machine may come to need, the largest first.

    `candidate_partitions` has, by entity that candidates name, the partitions of its topics.
    """
    others = candidate_partitions or {}
    pinned = {arm.pinned for one in pipeline.experiments for arm in one.arms if arm.pinned}
    copies = settings.shards.count + settings.serve.most_replicas
    served = settings.serve.most_replicas * (1 + len(pinned))
    found = [
        Need("the programs", _BASE_BYTES + (copies + _OTHER_PARTS) * _PART_BYTES),
        *_of_shards(pipeline, settings, partitions),
        *(
            need
            for plan in pipeline.candidate_plans
            for need in _of_topics(plan, settings, others[plan.entity.name])
        ),
        *_of_weights(pipeline, settings.learner.max_rows, settings.shards.count, served),
        *_of_catalogue(pipeline, settings.serve),
    ]
    if settings.redis.url == EMBEDDED:
        entities = settings.shards.max_entities_per_partition
        counted = [(pipeline.plan, partitions)]
        counted += [(plan, others[plan.entity.name]) for plan in pipeline.candidate_plans]
        stored = sum(
            count * entities * (rows.bytes_per_entity + _STORED_BYTES)
            for plan, count in counted
            for rows in plan.row_plans
        )
        found.append(Need("the same rows in Redis", stored, _ENTITIES, entities))
    return sorted(found, key=lambda need: -need.bytes)


def _of_shards(pipeline: Pipeline, settings: Settings, partitions: int) -> list[Need]:
    shards, layout = settings.shards, pipeline.encoder.layout
    example = 4 * len(layout.dense) + 8 * layout.id_width + _EXAMPLE_BYTES
    found = [
        *_of_topics(pipeline.plan, settings, partitions),
        Need(
            "examples to be learned",
            partitions * shards.outbox_max_examples * example,
            "shards.outbox_max_examples", shards.outbox_max_examples,
        ),
    ]  # fmt: skip
    if pipeline.joined:
        buffered = MAX_PENDING_ITEMS * (example + _CELL_BYTES) + MAX_LABEL_EVENTS * _CELL_BYTES
        found.append(Need("impressions and labels that wait", partitions * buffered))
    return found


def _of_topics(plan: FeaturePlan, settings: Settings, partitions: int) -> list[Need]:
    """What the topics of an entity fill: its rows, the copy of a snapshot, and ids of events."""
    shards, entities = settings.shards, settings.shards.max_entities_per_partition
    seen = shards.max_event_ids_per_partition
    rows = [
        Need(
            f"{partitions} x {entities:,} rows of {row} B, with {_ENTITY_BYTES} B for each key",
            partitions * entities * (int(ROOM * row) + _ENTITY_BYTES), _ENTITIES, entities,
        )
        for row in (table.bytes_per_entity for table in plan.row_plans)
    ]  # fmt: skip
    copy = shards.count * int(entities * plan.bytes_per_entity * SPARE)
    found = [*rows, Need("the copy of a snapshot in each shard", copy, _ENTITIES, entities)]
    if plan.tables:
        # Once more in each shard: while the ids of a partition are sorted there are two copies.
        copies = len(plan.tables) * (partitions + shards.count)
        size = copies * dedup.bytes_at_most(seen, shards.poll_max_records)
        what = f"{seen:,} ids of events in each partition"
        found.append(Need(what, size, "shards.max_event_ids_per_partition", seen))
    return found


def _of_weights(pipeline: Pipeline, rows: int, shards: int, served: int) -> list[Need]:
    """The learner's table, and its copies: those of shards have the optimiser's state, too."""
    width = pipeline.bound_model.rows.width
    weights, state = 4 * width, 4 * pipeline.optimizer.state_width(width)
    # Twice: a checkpoint is a copy, without the index.
    learned = 2 * (weights + state + _ROW_BYTES) + _INDEX_BYTES
    # Pinned weights are not drawn, so where replicas sample weights these are all that they have.
    with_state = shards + (served if samples_weights(pipeline.experiments) else 0)
    copied = (shards + served) * (weights + _ROW_BYTES + _INDEX_BYTES) + with_state * state
    return [
        Need("the learner's table", rows * learned, "learner.max_rows", rows),
        Need("copies of the weights", rows * copied, "learner.max_rows", rows),
    ]


def _of_catalogue(pipeline: Pipeline, settings: ServeSettings) -> list[Need]:
    """What replicas keep to recommend from."""
    if pipeline.retrieval is None:
        return []
    kept = settings.most_replicas * settings.most_items * pipeline.retrieval.bytes_per_item
    return [Need("the catalogue in each replica", kept, "serve.most_items", settings.most_items)]


def total(found: Sequence[Need]) -> int:
    """Sum the bytes of all."""
    return sum(need.bytes for need in found)


def check(pipeline: Pipeline, found: Sequence[Need], memory: Memory) -> None:
    """Raise ConfigError, with a setting that would do, when `found` exceeds `memory`."""
    missing = total(found) - memory.bytes
    if missing <= 0:
        return
    by_setting: Counter[str] = Counter()
    for need in found:
        if need.setting:
            by_setting[need.setting] += need.bytes
    setting, share = by_setting.most_common(1)[0]
    value = next(need.value for need in found if need.setting == setting)
    most = value * (share - missing) // share
    most_text = f"at most {_rounded(most):,}" if most > 0 else "far less, and others too"
    listed = "; ".join(f"{need.what}: {gigabytes(need.bytes)}" for need in found)
    raise ConfigError(
        _largest_view(pipeline) if setting == _ENTITIES else setting,
        f"{gigabytes(total(found))} of memory may be needed and {memory.where} has "
        f"{gigabytes(memory.bytes)} ({listed})",
        f"Set {setting} to {most_text} (it is {value:,}), or memory_bytes if there is more; "
        "`describe()` of the pipeline lists the bytes of each feature.",
    )


def checked(pipeline: Pipeline, found: Sequence[Need], there: Memory | None) -> str:
    """A line about the memory that may be needed; `there` is None for a cluster of others.

    Raises ConfigError when there is less.
    """
    needed = gigabytes(total(found))
    if there is None:
        return f"up to {needed} of memory may be needed in the cluster"
    check(pipeline, found, there)
    return f"up to {needed} of memory may be needed; {there.where} has {gigabytes(there.bytes)}"


def gigabytes(count: int) -> str:
    """Format a number of bytes.

    >>> gigabytes(1_234_000_000)
    '1.23 GB'
    """
    return f"{count / 1e9:.2f} GB"


def memory_there(settings: Settings, root: Path = Path("/")) -> Memory:
    """Find the memory that may be used: what the settings say, else the tightest limit.

    The limits are the RAM of the machine, and those of the control groups of this process, which
    are read below `root`.
    """
    if settings.memory_bytes is not None:
        return Memory(settings.memory_bytes, "the setting memory_bytes")
    machine = Memory(psutil.virtual_memory().total, "this machine")
    return min([machine, *_of_control_groups(root)], key=lambda limit: limit.bytes)


def _of_control_groups(root: Path) -> list[Memory]:
    """Read the limits of this process's groups (versions 1 and 2) and of those above them."""
    found = []
    membership = root / "proc/self/cgroup"
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        # Where a container hides the groups above its own, the last of these is its own.
        for ancestor in (group, *group.parents):
            limit = folder / ancestor / name
            text = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
            if text.isdigit():
                name_of_group = "/" if ancestor == Path() else f"/{ancestor}"
                found.append(Memory(int(text), f"the control group {name_of_group}"))
    return found


def _largest_view(pipeline: Pipeline) -> str:
    views = {view.__name__: FeaturePlan([view]).bytes_per_entity for view in pipeline.features}
    name = max(views, key=views.__getitem__)
    return f"view {name} ({views[name]} B an entity)"


def _rounded(count: int) -> int:
    """Round down to two digits, which are easier to copy.

    >>> _rounded(123_456), _rounded(7)
    (120000, 7)
    """
    step: int = 10 ** max(0, len(str(count)) - 2)
    return count // step * step
