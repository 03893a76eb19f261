"""The Ray Serve deployment: each replica is a `ScoringService` behind an ASGI application."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import cast

import ray.util
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, HTTPOptions
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, LoggingConfig
from starlette.applications import Starlette

from freshrank.actors.errors import PartFailed, Unavailable
from freshrank.actors.runtime import freeze_heap
from freshrank.serve.app import ServiceFactory, build_app, started
from freshrank.serve.http.fast_path import REPLICA_HANDLERS
from freshrank.serve.proxy.ray_internals import bind_grpc_to_loopback
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings
from freshrank.serve.start_failure import failure_in, marked

APP_NAME = "freshrank"
_DEPLOYMENT = "ScoringReplica"

# Seconds between two looks whether the first replica is up, or could not start.
_POLL_S = 0.1

# Seconds between two reports of a replica's load to the autoscaler, which sees the mean of so many.
_REPORT_S, _LOOK_BACK_S = 1.0, 5.0


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

    async def __serve_build_asgi_app__(self) -> Starlette:
        try:
            return await started(build_app(self._make, REPLICA_HANDLERS, freeze_heap))
        except Exception as error:
            raise RuntimeError(marked(error)) from error

    async def check_health(self) -> None:
        """Raise PartFailed when this replica has stopped for good: Serve then replaces it."""
        if self._service is not None and (broken := self._service.health()):
            raise PartFailed(broken)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """The load of this replica, which Serve sends to the autoscaler about once a second."""
        if self._service is None:
            return {}
        load = self._service.load.sample()
        slow = {} if load.p99_ms is None else {"p99_ms": load.p99_ms}
        return {"ongoing_requests": load.ongoing, **slow}

    async def _make(self) -> ScoringService:
        self._service = await self._factory()
        return self._service


def application(
    factory: ServiceFactory, settings: ServeSettings, scaling: AutoscalingPolicy | None = None
) -> serve.Application:
    """The Serve application, for `serve.run` or a config file.

    `scaling` decides how many replicas there are, within the settings; None: `serve.replicas`.
    """
    deployment = serve.deployment(
        name=_DEPLOYMENT,
        num_replicas=settings.replicas if scaling is None else None,
        autoscaling_config=None if scaling is None else _autoscaling(settings, scaling),
        max_ongoing_requests=settings.max_ongoing_requests,
        # In an update a new replica takes requests before an old replica stops. By default Serve
        # stops old replicas first, and so the only replica.
        max_surge_percent=1,
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


def deploy(
    factory: ServiceFactory, settings: ServeSettings, scaling: AutoscalingPolicy | None = None
) -> None:
    """Start the replicas and wait until the first is up. Blocks.

    Raises the error that keeps replicas from starting as soon as it has ended the first: a
    ConfigError as such, any other as StartFailed. Where a later try may succeed, because another
    process has not answered or the replica's own has ended, Serve tries three times for each
    replica; then raises Unavailable with the last reason.
    """
    app = application(factory, settings, scaling)
    target = serve.RunTarget(app, name=APP_NAME, route_prefix="/")
    of_before = _said(serve.status().applications.get(APP_NAME))
    serve.run_many([target], wait_for_applications_running=False)
    while not _is_up(of_before):
        time.sleep(_POLL_S)


def _said(app: ApplicationStatusOverview | None) -> str:
    """What Serve says of the replicas, or of their application; "" where there is none."""
    if app is None:
        return ""
    replicas = app.deployments.get(_DEPLOYMENT)  # added a moment after its application
    return app.message if replicas is None else replicas.message or app.message


def _is_up(of_before: str) -> bool:
    """Whether the application runs; raises the error that keeps it from that.

    For a moment Serve goes on saying `of_before`, which may be of replicas that failed earlier.
    """
    app = serve.status().applications.get(APP_NAME)
    if app is None:
        raise Unavailable("ray serve", "the replicas were stopped while they started")
    said = _said(app)
    failure = None if said == of_before else failure_in(said)
    if failure is not None and not failure.retried:
        raise failure.error()
    if app.status == ApplicationStatus.DEPLOY_FAILED:
        raise Unavailable("ray serve", said if failure is None else failure.text)
    return app.status == ApplicationStatus.RUNNING


def _autoscaling(settings: ServeSettings, policy: AutoscalingPolicy) -> AutoscalingConfig:
    """Serve's part of autoscaling: it moves the loads, and applies what the policy says at once."""
    with warnings.catch_warnings():
        # Deprecated for an environment variable, which this version of Ray does not read yet.
        warnings.filterwarnings("ignore", ".*metrics_interval_s", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=settings.replicas,
            max_replicas=settings.most_replicas,
            policy=policy,
            metrics_interval_s=_REPORT_S,
            look_back_period_s=_LOOK_BACK_S,
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
        )


def delete() -> None:
    """Stop the replicas once their ongoing requests are answered; the ingress stays."""
    serve.delete(APP_NAME)
