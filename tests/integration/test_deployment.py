"""The endpoint under a real Serve, behind HAProxy, with fakes for Kafka, Redis and the learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from ray import serve
from serving import ReplicaFactory

from freshrank.deploy.processes import free_port
from freshrank.serve import deployment
from freshrank.serve.deployment import ReplicaOptions

pytestmark = pytest.mark.usefixtures("ray_cluster")

TIMEOUT_S = 20.0
# The words of /proc/net/tcp for 127.0.0.1, and for a socket that listens.
_LOOPBACK, _LISTENING = "0100007F", "0A"


@pytest.fixture
def port() -> Iterator[int]:
    found = free_port()
    deployment.start_proxy("127.0.0.1", found)
    yield found
    cast(Callable[[], None], serve.shutdown)()  # Ray leaves it untyped


def test_requests_are_answered_behind_haproxy_until_the_replica_leaves_in_order(
    port: int, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    deployment.deploy(ReplicaFactory(mark), ReplicaOptions())
    candidates = [{"item_id": item, "note": "n", "price": 1.0} for item in (3, 4, 5)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
        assert client.get("/readyz").status_code == 200
        answer = client.post("/v1/score", json={"user": "u1", "candidates": candidates})
        assert answer.json()["ranking"] == [1, 0, 2]
        assert answer.json()["model"]["version"] == "1.5"
        # Errors reach the caller as they are, not as those of Serve or of HAProxy.
        assert client.post("/v1/score", json={}).json()["error"]["field"] == "body"
        assert client.get("/nowhere").json()["error"]["field"] == "path"
        late = {"user": "u1", "candidates": candidates, "min_version": "9.0"}
        assert client.post("/v1/score", json=late).status_code == 409
        assert client.get("/").headers["content-security-policy"]
    assert _listening(port) == {_LOOPBACK}
    deployment.delete()
    assert mark.read_text() == "closed"


def _listening(port: int) -> set[str]:
    """The addresses on which somebody listens on `port`, as the kernel writes them."""
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    sockets = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {
        one[1].partition(":")[0]
        for one in sockets
        if one[3] == _LISTENING and one[1].endswith(f":{port:04X}")
    }
