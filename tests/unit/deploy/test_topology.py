"""The application that Serve builds from a config file."""

from __future__ import annotations

from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy import topology
from freshrank.examples import recommend


def test_an_application_knows_the_partitions_of_the_entities_that_candidates_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRESHRANK_KAFKA__BOOTSTRAP", "broker:9092")
    monkeypatch.setenv("FRESHRANK_REDIS__URL", "redis://cache:6379/0")
    monkeypatch.setenv("FRESHRANK_SERVE__INSECURE", "true")
    file = Path(recommend.__file__)
    arguments = topology.AppArguments(pipeline=file, partitions=4, candidate_partitions={"item": 2})
    with pytest.raises(ConfigError, match="names \\['item'\\], and candidates name \\[\\]"):
        topology.build_app(arguments)


def test_an_application_that_serve_builds_is_refused_without_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRESHRANK_KAFKA__BOOTSTRAP", "broker:9092")
    monkeypatch.setenv("FRESHRANK_REDIS__URL", "redis://cache:6379/0")
    file = Path(recommend.__file__)
    with pytest.raises(ConfigError, match="freshrank keys create"):
        topology.build_app(topology.AppArguments(pipeline=file, partitions=4))
