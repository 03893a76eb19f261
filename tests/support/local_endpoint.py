"""The REST API of a system in the process of a test, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.serve.app import build_app
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings


@asynccontextmanager
async def client_of(
    made: Callable[[], Awaitable[ScoringService]],
) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the application of the service that `made` gives."""
    app = build_app(made)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),
            base_url="http://localhost",
            headers={"Content-Type": "application/json"},
        ) as client,
    ):
        yield client


@asynccontextmanager
async def local_endpoint(
    pipeline: Pipeline, world: World
) -> AsyncIterator[tuple[LocalSystem, httpx.AsyncClient]]:
    """A system that is started, and a client of its replica; it is stopped at the end."""
    system = LocalSystem(pipeline, Settings(serve=ServeSettings(max_start_wait_ms=0)), world)
    await system.start()

    async def made() -> ScoringService:
        return system.replica

    async with client_of(made) as client:
        yield system, client
    await system.stop()
