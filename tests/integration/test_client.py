"""The Python client over real connections."""

from __future__ import annotations

import threading
import time

import pytest
import uvicorn
from fake_retriever import FakeRetriever, item
from http_calls import candidates
from serving import ReplicaUnderTest

from freshrank.actors.errors import Unavailable
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.serve.app import build_app
from freshrank.serve.client import Client
from freshrank.serve.client.exchange import Patience
from freshrank.serve.scoring.service import ScoringService


def test_the_client_asks_over_a_connection_and_tells_when_nobody_listens() -> None:
    replica = ReplicaUnderTest(retriever=FakeRetriever({"3": item(), "4": item()}))

    async def made() -> ScoringService:
        return replica.service

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(build_app(made), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    patience = Patience(timeout_s=5.0, tries=2, first_pause_s=0.01)
    with Client(f"http://127.0.0.1:{port}", patience=patience) as client:
        try:
            while thread.is_alive() and not server.started:
                time.sleep(0.01)
            assert client.score("u1", candidates(3, 4)).scores == [0.1, 0.1]
            found = client.recommend("u1", k=1, pages=2)
            assert found.next is not None
            assert [one.id for one in client.next_page(found.next).items] == [4]
        finally:
            server.should_exit = True
            thread.join()
        with pytest.raises(Unavailable, match="no answer from /v1/status"):
            client.status()
