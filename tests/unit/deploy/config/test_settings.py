from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.wiring import assembly
from freshrank.learner.guard.settings import GuardSettings

EXAMPLE = Path(__file__).parents[4] / "examples" / "recommend.py"


def write(folder: Path, text: str) -> Path:
    path = folder / "freshrank.toml"
    path.write_text(text)
    return path


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, '[kafka]\nbootstrap = "a:1"\npartitions = 3\n[shards]\ncount = 2\n')
    settings = load_settings(path, {"FRESHRANK_KAFKA__BOOTSTRAP": "b:2", "HOME": "/"})
    assert settings.kafka.bootstrap == "b:2"
    assert settings.kafka.partitions == 3
    assert settings.shards.count == 2
    assert settings.serve.port == Settings().serve.port


@pytest.mark.parametrize(
    ("text", "named", "meant"),
    [
        ("[kafka]\nbootstap = 'a:1'\n", "kafka.bootstap", "'bootstrap'"),
        ("[kafak]\nbootstrap = 'a:1'\n", "kafak", "'kafka'"),
        ("partitions = 3\n", "partitions", "kafka.partitions"),
    ],
)
def test_an_unknown_key_of_the_file_is_named_with_the_file_and_what_is_known(
    tmp_path: Path, text: str, named: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text), {})
    assert caught.value.place == f"{tmp_path / 'freshrank.toml'}: {named}"
    assert caught.value.fix == f"Did you mean {meant}?"


def test_an_unknown_variable_of_the_environment_is_named() -> None:
    with pytest.raises(ConfigError, match=r"FRESHRANK_KAFKA__BOOTSTAP: kafka\.bootstap"):
        load_settings(None, {"FRESHRANK_KAFKA__BOOTSTAP": "a:1"})


@pytest.mark.parametrize("name", ["FRESHRANK_KAFAK__BOOTSTRAP", "FRESHRANK_KAFAK"])
def test_a_variable_of_an_unknown_section_is_named_with_the_sections(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {name: "a:1"})
    assert caught.value.place == f"{name}: kafak"
    assert caught.value.fix == "Did you mean 'kafka'?"


def test_the_text_of_a_variable_is_its_value_and_never_read_as_json() -> None:
    with pytest.raises(ConfigError, match="FRESHRANK_KAFKA: kafka: Input should be a valid dict"):
        load_settings(None, {"FRESHRANK_KAFKA": '{"bootstrap": "a:1"}'})


def test_variables_without_our_prefix_are_not_read() -> None:
    assert load_settings(None, {"KAFKA__BOOTSTRAP": "a:1", "freshrank_state": "/s"}) == Settings()


def test_a_variable_that_takes_a_value_for_a_section_is_named() -> None:
    with pytest.raises(ConfigError, match="FRESHRANK_STATE__X"):
        load_settings(None, {"FRESHRANK_STATE": "/s", "FRESHRANK_STATE__X": "1"})


def test_a_value_of_the_wrong_kind_is_named_with_what_it_is_now() -> None:
    with pytest.raises(ConfigError, match=r"FRESHRANK_SHARDS__COUNT: shards\.count.*'many'"):
        load_settings(None, {"FRESHRANK_SHARDS__COUNT": "many"})


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load_settings(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(write(tmp_path, "kafka = ["), {})


def test_the_state_folder_follows_the_pipelines_name_unless_it_is_given(tmp_path: Path) -> None:
    assert Settings().state_folder("recommend").parts[-2:] == (".freshrank", "recommend")
    assert Settings(state=tmp_path).state_folder("recommend") == tmp_path


def test_the_guards_bounds_are_a_section_of_the_learners_and_reach_it() -> None:
    settings = load_settings(None, {"FRESHRANK_LEARNER__GUARD__MAX_WEIGHT": "7"})
    pipeline = PipelineFile.read(EXAMPLE).load()
    assert pipeline.joined is not None
    made = assembly.learner(pipeline, settings.learner)
    assert made.rollback_log.settings == GuardSettings(max_weight=7.0)
    assert made.rollback_log.loss_drift.label_delay_ms == 2 * pipeline.joined.delay_ms
