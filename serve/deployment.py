"""The Serve deployment: one replica is one `ScoringService` behind one ASGI application."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import ray.util
from ray import serve
from ray.serve._private import replica
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.applications import Starlette

from freshrank.actors.errors import PartFailed
from freshrank.serve.http.app import ServiceFactory, build_app
from freshrank.serve.http.fast_path import REPLICA_HANDLERS
from freshrank.serve.scoring.service import ScoringService

APP_NAME = "freshrank"


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """How many replicas, and how much of the machine each is counted for."""

    replicas: int = 1
    max_ongoing_requests: int = 512
    num_cpus: float = 0.0
    """Reserved, not enforced. 0: a two-core laptop holds all parts."""


def start_proxy(host: str, port: int) -> None:
    """Start Serve's ingress on a running Ray: HAProxy, if the environment says so."""
    serve.start(http_options=HTTPOptions(host=host, port=port))


class ScoringReplica:
    """What Serve holds in each replica's process; Serve runs the application's start and end."""

    def __init__(self, factory: ServiceFactory) -> None:
        _stay_on_loopback()
        self._factory = factory
        self._service: ScoringService | None = None

    def __serve_build_asgi_app__(self) -> Starlette:
        return build_app(self._make, REPLICA_HANDLERS)

    async def check_health(self) -> None:
        """Raise when this replica cannot go on: Serve replaces it then."""
        if self._service is not None and (broken := self._service.health()):
            raise PartFailed(broken)

    async def _make(self) -> ScoringService:
        self._service = await self._factory()
        return self._service


def _stay_on_loopback() -> None:
    """Where the cluster is this machine alone, bind what Serve binds to every address to loopback.

    That is each replica's port for calls from other deployments: they carry the cluster's token
    and are unpickled, and no setting of Ray moves the port. Called in the replica's process before
    Serve opens it.
    """
    node = cast(Callable[[], str], ray.util.get_node_ip_address)()  # Ray leaves it untyped
    if not ipaddress.ip_address(node).is_loopback:
        return
    add_port: Callable[[object, str], int] = vars(replica)["add_port_to_grpc_server"]

    def add_port_on_loopback(server: object, address: str) -> int:
        return add_port(server, address.replace("[::]", node))

    vars(replica)["add_port_to_grpc_server"] = add_port_on_loopback


def application(factory: ServiceFactory, options: ReplicaOptions) -> serve.Application:
    """The Serve application, ready for `serve.run` or a config file."""
    deployment = serve.deployment(
        name="ScoringReplica",
        num_replicas=options.replicas,
        max_ongoing_requests=options.max_ongoing_requests,
        ray_actor_options={"num_cpus": options.num_cpus},
        # An access log line a request costs more than the request's own work; below this level
        # the line is made, and thrown away.
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
        health_check_period_s=2.0,
        graceful_shutdown_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.2,
    )(serve.ingress()(ScoringReplica))
    return deployment.bind(factory)


def deploy(factory: ServiceFactory, options: ReplicaOptions) -> None:
    """Run the replicas and wait until the first is up."""
    serve.run(application(factory, options), name=APP_NAME, route_prefix="/")


def delete() -> None:
    """Take the replicas down, once they have answered what they were asked; the ingress stays."""
    serve.delete(APP_NAME)
