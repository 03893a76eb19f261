"""Each mistake in a pipeline's file is named with its place and a fix, without any server."""

from __future__ import annotations

import pytest
from mistakes import MISTAKES, RIGHT, Mistake

from freshrank.actors.errors import ConfigError
from freshrank.deploy.pipelines.pipeline_file import PipelineFile


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_it_is_told_what_to_change(mistake: Mistake) -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineFile("pipeline.py", mistake.text).load()
    said = str(caught.value)
    assert said.startswith("pipeline.py")
    assert mistake.place in said
    assert mistake.fix in said


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ('half_life="2d"', 'half_life="2 days"', "    taste = DecayedCount("),
        ('["song", "genre"],', '["song", "mood"],', '    context=["song", "mood"],'),
        ('time="at"', 'time="ts"', "plays = Stream("),
    ],
    ids=["an attribute of a view", "an argument of several lines", "an argument"],
)
def test_the_line_is_that_of_the_declaration(was: str, now: str, line: str) -> None:
    text = RIGHT.replace(was, now)
    with pytest.raises(ConfigError) as caught:
        PipelineFile("pipeline.py", text).load()
    _, number, _ = str(caught.value).split(":", 2)
    assert text.splitlines()[int(number) - 1].startswith(line)
