r"""The model beside Feast's server, behind Serve's default proxy, in a process of its own.

    python -m freshrank.benchmarks.latency.beside_feast.host FEAST_PORT PORT

It ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from freshrank.actors.clock import SystemClock
from freshrank.actors.messages import Delta
from freshrank.benchmarks.latency.serving_host import DEFAULT_PROXY, served_file, until_signalled
from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring import assembly
from freshrank.learner.actor import LearnerActor

_SNAPSHOT_TIMEOUT_S = 30.0


async def _first_weights(settings: Settings) -> Sequence[Delta]:
    """Those that a learner begins with."""
    core = assembly.learner(served_file().load(), settings.learner)
    learner = LearnerActor(core, SystemClock())
    await learner.start()
    found = await learner.newer_than(None, _SNAPSHOT_TIMEOUT_S)
    await learner.stop()
    return found


def main() -> None:
    """Serve until a signal comes."""
    feast_port, port = sys.argv[1:]
    os.environ.update(DEFAULT_PROXY)
    ray_environment.prepare(None)
    # Ray reads its environment when it is imported: not before this line.
    from freshrank.benchmarks.latency.beside_feast import scorer  # noqa: PLC0415
    from freshrank.deploy import topology  # noqa: PLC0415
    from freshrank.deploy.cluster import ray_connection  # noqa: PLC0415
    from freshrank.serve.deployment import start_proxy  # noqa: PLC0415

    settings = Settings.model_validate({"learner": {"device": "cpu"}})
    weights = asyncio.run(_first_weights(settings))
    ray_connection.connect(None)
    start_proxy("127.0.0.1", int(port))
    scorer.deploy(served_file(), weights, f"http://127.0.0.1:{feast_port}", settings.serve)
    try:
        asyncio.run(until_signalled())
    finally:
        topology.stop_replicas()
        topology.disconnect()


if __name__ == "__main__":
    main()
