from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy.outside import outside_of, prepare_state, side_topics
from freshrank.deploy.pipeline_file import PipelineFile
from freshrank.deploy.settings import Settings

EXAMPLE = Path(__file__).parents[3] / "examples" / "recommend.py"


def prepare(folder: Path, kafka: str) -> list[str]:
    said: list[str] = []
    prepare_state(folder, kafka, said.append)
    return said


def test_state_over_a_lasting_broker_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for kafka in ("apache", "apache"):
        assert prepare(folder, kafka) == []
        (folder / "snapshot").write_text("kept")
    assert (folder / "snapshot").read_text() == "kept"


@pytest.mark.parametrize("then", ["embedded", "apache", "broker:9092"])
def test_state_over_a_broker_that_forgot_its_topics_is_put_aside_and_said(
    tmp_path: Path, then: str
) -> None:
    folder = tmp_path / "shop"
    for number in range(3):  # the one aside is replaced each time
        prepare(folder, "embedded")
        (folder / "snapshot").write_text(str(number))
    said = prepare(folder, then)
    assert "starting anew" in said[0]
    assert list(folder.iterdir()) == [folder / "broker"]
    assert (tmp_path / "shop.previous" / "snapshot").read_text() == "2"


def test_state_of_another_broker_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    prepare(folder, "apache")
    with pytest.raises(ConfigError, match="belongs to another broker"):
        prepare(folder, "broker:9092")
    assert prepare(folder, "apache") == []


def test_rejected_records_and_alerts_have_topics_of_their_own(tmp_path: Path) -> None:
    pipeline = PipelineFile.read(EXAMPLE).load()
    assert side_topics(pipeline) == [
        "behaviour.dead",
        "recommend.impressions.dead",
        "behaviour.late",
        "recommend.alerts",
    ]
    with pytest.raises(ConfigError, match="not the address of a broker"):
        settings = Settings.load(None, {"FRESHRANK_KAFKA__BOOTSTRAP": "nonsense"})
        outside_of(pipeline, settings, tmp_path, print)
