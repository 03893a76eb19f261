import errno
from pathlib import Path

import pytest

from freshrank.actors.disk import Disk
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


@pytest.mark.parametrize("duty", ["write", "sync", "rename"])
def test_a_full_disk_is_told_at_the_start_and_costs_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duty: str
) -> None:
    def refuse(*of: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "shop"
    prepare(folder, "apache")
    (folder / "snapshot").write_text("kept")
    with monkeypatch.context() as full:
        full.setattr(Disk, duty, refuse)
        with pytest.raises(ConfigError) as caught:
            prepare(folder, "apache")
    assert str(caught.value) == (
        f"{folder}: the state cannot be kept there: No space left on device. "
        "Make space there, or give another folder (FRESHRANK_STATE)."
    )
    assert prepare(folder, "apache") == []
    assert sorted(path.name for path in folder.iterdir()) == ["broker", "snapshot"]


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
