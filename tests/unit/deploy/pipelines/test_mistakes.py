"""Each mistake in a pipeline's file is named with its place and a fix, without any server."""

from __future__ import annotations

import pytest
from mistakes import MISTAKES, Mistake

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
