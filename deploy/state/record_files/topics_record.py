"""The topics that a state was made of: their ids and numbers of partitions, in the state folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.errors import ConfigError
from freshrank.actors.records import TopicIdentity
from freshrank.deploy.state.record_files.json_record import JsonRecord

RECORD = JsonRecord("topics.json", dict[str, TopicIdentity])
"""The identities of the topics."""


def check_topics(folder: Path, topics: Mapping[str, TopicIdentity]) -> None:
    """Raise ConfigError when `topics` are not those that the state in `folder` was made of.

    State of a version that did not record them is accepted.
    """
    recorded: Mapping[str, TopicIdentity] = RECORD.read(folder) or {}
    for topic, before in recorded.items():
        now = topics.get(topic)
        if now is None:
            continue  # the pipeline reads it no more
        if "" not in (before.id, now.id) and now.id != before.id:
            raise _refused(topic, "it was created again since this state was made", folder)
        if now.partitions != before.partitions:
            raise _refused(
                topic,
                f"it has {now.partitions} partitions and had {before.partitions} when this state "
                "was made: keys have moved to other partitions, and their state has not",
                folder,
            )


def _refused(topic: str, problem: str, folder: Path) -> ConfigError:
    return ConfigError(
        f"topic {topic!r}",
        problem,
        f"Move the folders shards and learner out of {folder}, to learn again from what the topics "
        "still hold, or set another `state` (FRESHRANK_STATE).",
    )
