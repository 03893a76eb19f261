"""From what the user asked for to a running system: checks and Ray's environment come first."""

from __future__ import annotations

from rich.console import Console

from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.servers.processes.ports import check_port
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring.start_checks import check_served, check_settings


def start(request: RunRequest) -> None:
    """Run the pipeline; returns when everything is stopped. Raises ConfigError, Unavailable."""
    # Whatever can be checked at once is checked before anything that takes seconds to load.
    serve = request.settings.serve
    certificate = check_settings(request.settings)
    if request.address is None:
        check_port(serve.host, serve.port)
        if serve.grpc_port:
            check_port(serve.host, serve.grpc_port, "serve.grpc_port")
    if request.settings.kafka.port:
        check_port("127.0.0.1", request.settings.kafka.port, "kafka.port")
    pipeline = request.file.load()
    folder = request.settings.state_folder(pipeline.name)
    StateFolder(folder, request.settings.kafka.bootstrap).check_free()
    if request.traffic is None:
        Console().print(pipeline.describe(), markup=False, highlight=False, soft_wrap=True)
    check_served(pipeline, request.settings)
    ray_environment.prepare(request.address, certificate)
    # Ray reads its environment when it is imported: not before this line.
    from freshrank.deploy.commands.running.run import run_system  # noqa: PLC0415

    try:
        run_system(request)
    except Exception:
        ray_environment.keep_logs()
        raise
