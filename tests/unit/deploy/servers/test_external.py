from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import external_servers, side_topics

EXAMPLE = Path(__file__).parents[4] / "examples" / "recommend.py"


def test_rejected_records_and_alerts_have_topics_of_their_own(tmp_path: Path) -> None:
    pipeline = PipelineFile.read(EXAMPLE).load()
    assert side_topics(pipeline) == [
        "behaviour.dead",
        "recommend.impressions.dead",
        "behaviour.late",
        "recommend.alerts",
    ]
    with pytest.raises(ConfigError, match="not the address of a broker"):
        settings = load_settings(None, {"FRESHRANK_KAFKA__BOOTSTRAP": "nonsense"})
        external_servers(pipeline, settings, tmp_path, print)
