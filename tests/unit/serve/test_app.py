"""The startup of a replica's application, with the server's part and without it."""

from __future__ import annotations

import asyncio

import pytest
from serving import ReplicaUnderTest

from freshrank.actors.errors import ConfigError
from freshrank.serve.app import build_app, started
from freshrank.serve.scoring.service import ScoringService


def test_an_application_that_is_started_leaves_its_shutdown_to_the_server() -> None:
    replica = ReplicaUnderTest()

    async def made() -> ScoringService:
        return replica.service

    async def serve() -> None:
        app = await started(build_app(made))
        assert "/v1/score" in {getattr(route, "path", None) for route in app.router.routes}
        before = len(app.router.routes)
        async with app.router.lifespan_context(app):
            assert len(app.router.routes) == before
            assert not replica.closed
        assert replica.closed

    asyncio.run(serve())


def test_the_error_of_a_startup_is_raised() -> None:
    async def mistaken() -> ScoringService:
        raise ConfigError("Catalogue.brand", "there is no such field", "Correct it.")

    with pytest.raises(ConfigError, match=r"Catalogue\.brand"):
        asyncio.run(started(build_app(mistaken)))
