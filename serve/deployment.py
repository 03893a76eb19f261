"""The Ray Serve deployment: each replica is one `ScoringService` behind one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import ray.util
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.applications import Starlette

from freshrank.actors.errors import PartFailed
from freshrank.actors.runtime import freeze_heap
from freshrank.serve.app import ServiceFactory, build_app
from freshrank.serve.http.fast_path import REPLICA_HANDLERS
from freshrank.serve.proxy.ray_internals import bind_grpc_to_loopback
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings

APP_NAME = "freshrank"


def start_proxy(host: str, port: int) -> None:
    """Start Serve's ingress on a running Ray: HAProxy, if the environment says so."""
    serve.start(http_options=HTTPOptions(host=host, port=port))


class ScoringReplica:
    """The object of each replica's process; Serve runs its application's startup and shutdown."""

    def __init__(self, factory: ServiceFactory) -> None:
        # Ray leaves the function untyped.
        bind_grpc_to_loopback(cast(Callable[[], str], ray.util.get_node_ip_address)())
        self._factory = factory
        self._service: ScoringService | None = None

    def __serve_build_asgi_app__(self) -> Starlette:
        return build_app(self._make, REPLICA_HANDLERS, freeze_heap)

    async def check_health(self) -> None:
        """Raise PartFailed when this replica has stopped for good: Serve then replaces it."""
        if self._service is not None and (broken := self._service.health()):
            raise PartFailed(broken)

    async def _make(self) -> ScoringService:
        self._service = await self._factory()
        return self._service


def application(factory: ServiceFactory, settings: ServeSettings) -> serve.Application:
    """The Serve application, for `serve.run` or a config file."""
    deployment = serve.deployment(
        name="ScoringReplica",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        # Reserved, not enforced. 0: a two-core laptop holds all parts.
        ray_actor_options={"num_cpus": 0.0},
        # A line of an access log costs more than the request itself. Below this level the line is
        # formatted and thrown away.
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
        health_check_period_s=2.0,
        graceful_shutdown_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.2,
    )(serve.ingress()(ScoringReplica))
    return deployment.bind(factory)


def deploy(factory: ServiceFactory, settings: ServeSettings) -> None:
    """Start the replicas and wait until the first is up."""
    serve.run(application(factory, settings), name=APP_NAME, route_prefix="/")


def delete() -> None:
    """Stop the replicas once their ongoing requests are answered; the ingress stays."""
    serve.delete(APP_NAME)
