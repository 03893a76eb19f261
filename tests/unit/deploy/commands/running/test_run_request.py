"""A run chooses what the settings leave open."""

from __future__ import annotations

import pytest

from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.serve.settings import ServeSettings


def completed(**serve: object) -> RunRequest:
    settings = Settings(serve=ServeSettings.model_validate(serve))
    return RunRequest(PipelineFile("shop.py", ""), settings).completed()


def test_a_free_port_is_one_for_all_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freshrank.deploy.commands.running.run_request.free_port", lambda: 4711)
    assert completed(grpc_port=0).settings.serve.grpc_port == 4711
    assert completed(grpc_port=9000).settings.serve.grpc_port == 9000
    assert completed().settings.serve.grpc_port is None


def test_the_address_of_grpc_is_told_where_there_is_one() -> None:
    assert completed(grpc_port=9000).beside_rest == " (gRPC: 127.0.0.1:9000)"
    assert completed().beside_rest == ""
