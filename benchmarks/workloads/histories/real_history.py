"""Histories of real shops, as benches read them: the pipelines of examples, over their data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freshrank.actors.protocols import JsonValue
from freshrank.benchmarks.workloads.shop_fixture import changed_example
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.examples import jd, retail


@dataclass(frozen=True, slots=True)
class RealHistory:
    """An example with a history of its own."""

    example: str
    """The name of its file."""
    data: str
    """Where its history lies in the folder of all real data."""
    topic: str
    """That of its stream."""
    names: Mapping[str, str]
    """By what the example's text says: what a bench says, with ``{topic}`` and ``{name}``."""
    entity: tuple[str, str]
    """The fields of the entity's key and of the event's id: other copies have others."""
    records: Callable[[Path], Iterable[tuple[bytes, bytes, int]]]
    copies: int
    """How often a bench takes each event, each time of others: what a start costs is little beside
    so many."""

    def file(self, topic: str, name: str) -> PipelineFile:
        """The example's file, with another topic and another name of the pipeline."""
        changes = {old: new.format(topic=topic, name=name) for old, new in self.names.items()}
        return PipelineFile(f"examples/{self.example}", changed_example(self.example, changes))

    def events(self, path: Path, copies: int) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each event in the order of time, so often, each time of others."""
        for key, value, _ in self.records(path):
            event: dict[str, JsonValue] = msgspec.json.decode(value)
            for copy in range(copies):
                other = {field: f"{event[field]}.{copy}" for field in self.entity}
                yield key + b".%d" % copy, msgspec.json.encode(event | other)


REAL: Mapping[str, RealHistory] = {
    "jd": RealHistory(
        "jd.py",
        "clickstream/jd/bo_action.parquet",
        "jd",
        {'Stream("jd"': 'Stream("{topic}"', '        "jd",\n': '        "{name}",\n'},
        ("user_id", "action_id"),
        jd.records,
        copies=10,
    ),
    "retail": RealHistory(
        "retail.py",
        "demand/online_retail_uci_2010-12_2011-12.csv.gz",
        "demand",
        {'Stream("demand"': 'Stream("{topic}"', '    "retail",\n': '    "{name}",\n'},
        ("product", "day_id"),
        retail.records,
        copies=4,
    ),
}
"""By the name of the example."""


def found_in(folder: Path | None) -> dict[str, Path]:
    """The histories that lie in a folder of real data, by the name of the example."""
    if folder is None:
        return {}
    paths = {name: folder / history.data for name, history in REAL.items()}
    return {name: path for name, path in paths.items() if path.exists()}
