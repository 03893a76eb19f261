"""The input layouts that the impressions of a pipeline have had, as its state knows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.deploy.state.folders import SHARDS
from freshrank.deploy.state.inspect import newest_headers
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND, layouts_of


def known_layouts(folder: Path) -> Mapping[str, KeptLayout]:
    """By fingerprint: the layouts that snapshots in a state folder name; none: there are none."""
    found: dict[str, KeptLayout] = {}
    for header in newest_headers(SNAPSHOT_KIND, folder / SHARDS):
        found |= layouts_of(header.meta)
    return found
