"""The songs of `mistakes`, before and after changes of their definitions."""

from __future__ import annotations

from mistakes import RIGHT

from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile

Replaced = tuple[tuple[str, str], ...]
"""Texts, each with what comes in its place."""

_IMPORTED = (("    SGD, Adagrad,", "    SGD, Adagrad, Clipped, Table,"),)
_PIPELINE = "pipeline = Pipeline("
_VISITS = """\
class Visit(msgspec.Struct):
    visit_id: str
    listener: str
    page: str
    at: int


visits = Stream("visits", id="visit_id", time="at", key=listener, schema=Visit)


class Browsing(FeatureView):
    entity, source = listener, visits
    pages = LastK("page", k=3)


pipeline = Pipeline("""
_ITEMS = """\
class Popularity(FeatureView):
    entity, source = Entity("song", key="song"), plays
    starts = Count(windows=["5m"])


pipeline = Pipeline("""
_CATALOGUE = """\
class Song(msgspec.Struct):
    song: str
    artist: str


songs = Table("songs", key=Entity("song", key="song"), schema=Song)


pipeline = Pipeline("""

VISITS: Replaced = (
    (_PIPELINE, _VISITS),
    ("stream=plays", "streams=[plays, visits]"),
    ("[Listening]", "[Listening, Browsing]"),
)
"""A second stream, and a view of it."""
ITEMS: Replaced = ((_PIPELINE, _ITEMS), ("[Listening]", "[Listening, Popularity]"))
"""Features of songs."""
CATALOGUE: Replaced = (
    (_PIPELINE, _CATALOGUE),
    ('context=["song", "genre"]', 'tables=[songs],\n    context=["song", "genre", songs.artist]'),
)
"""A table of songs."""
CROSS: Replaced = (("    label=", '    crosses=[("listener", "genre")],\n    label='),)
CLEANED: Replaced = (
    ("    label=", '    cleaning=[Clipped("listened_1h", high=0.9)],\n    label='),
)
ANOTHER_WINDOW: Replaced = (('half_life="2d"', 'half_life="3d"'),)
RENAMED: Replaced = (("listened = Sum(", "heard = Sum("),)
FEWER: Replaced = (('    recent = LastK("song", k=10)\n', ""),)
MORE: Replaced = (("    recent = LastK", "    likes = Count(windows=['1h'])\n    recent = LastK"),)
ANOTHER_INPUT: Replaced = (('context=["song", "genre"]', 'context=["song", "genre", "seconds"]'),)
OTHER_LABEL: Replaced = (('within="30m"', 'within="40m"'),)
OTHER_OPTIMIZER: Replaced = (("Adagrad(0.1)", "Adagrad(0.2)"),)


def text_with(*changes: Replaced) -> str:
    """The pipeline's file after some changes, each of which finds what it replaces."""
    text = RIGHT
    for was, now in (pair for change in (_IMPORTED, *changes) for pair in change):
        assert was in text, was
        text = text.replace(was, now)
    return text


def songs_with(*changes: Replaced) -> Pipeline:
    """The pipeline of that file."""
    return PipelineFile("songs.py", text_with(*changes)).load()
