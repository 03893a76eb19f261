"""The input layouts that the impressions of a pipeline have had, as its state knows them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from freshrank.actors.errors import SnapshotError
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.snapshots.file_format import read_header
from freshrank.deploy.state.folders import SHARDS
from freshrank.deploy.state.inspect import newest_first
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND, layouts_of


def known_layouts(folder: Path) -> Mapping[str, KeptLayout]:
    """By fingerprint: the layouts that snapshots in a state folder name; none: there are none."""
    found: dict[str, KeptLayout] = {}
    for meta in _metas(folder / SHARDS):
        found |= layouts_of(meta)
    return found


def _metas(shards: Path) -> Iterator[dict[str, Any]]:
    """Of the newest readable file of each partition."""
    for files in newest_first(shards):
        for path in files:
            with contextlib.suppress(SnapshotError):  # a start skips it too, and logs that
                yield read_header(SNAPSHOT_KIND, path)[1]
                break
