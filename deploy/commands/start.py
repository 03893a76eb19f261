"""TODO-DOC."""

from __future__ import annotations

from rich.console import Console

from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.commands.run_options import Run
from freshrank.deploy.servers.processes import check_port


def start(run: Run) -> None:
    """Run it; comes back when all of it is stopped."""
    # What may be wrong here is told before what takes seconds is loaded.
    if run.address is None:
        check_port(run.settings.serve.host, run.settings.serve.port)
    pipeline = run.file.load()
    if not run.demo:
        Console().print(pipeline.describe(), markup=False, highlight=False, soft_wrap=True)
    ray_environment.prepare(run.address)
    # Ray reads its environment when it is imported: not before this line.
    from freshrank.deploy.commands.run import run_live  # noqa: PLC0415

    run_live(run)
