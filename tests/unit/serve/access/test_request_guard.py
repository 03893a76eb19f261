"""Which requests the endpoint answers: by host, origin, type of the body, and key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_calls import candidates, talk
from pydantic import SecretStr
from serving import ReplicaUnderTest

from freshrank.actors.errors import ConfigError, RequestError
from freshrank.serve.access import request_guard
from freshrank.serve.access.api_keys import Scope, create_key, key_record, write_keys
from freshrank.serve.access.request_guard import RequestGuard, check_start, with_keys_required
from freshrank.serve.settings import ServeSettings

SCORE = {"user": "u", "candidates": candidates(1)}
EVENT = {"user_id": "a"}
# Every route with a body: the first is on the fast path, the second is not.
BODIES = {"/v1/score": SCORE, "/v1/events": EVENT}
ANYWHERE = "0.0.0.0"


def ask(
    replica: ReplicaUnderTest, path: str, body: object = None, **headers: str
) -> httpx.Response:
    async def story(client: httpx.AsyncClient) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return await client.get(path, headers=given)
        return await client.post(path, json=body, headers=given)

    return talk(replica, story)


def refused(answer: httpx.Response, status: int, field: str) -> bool:
    return answer.status_code == status and answer.json()["error"]["field"] == field


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain; x=application/json", "application/x-www-form-urlencoded",
             "multipart/form-data", "", "application/jsonp"],
)  # fmt: skip
def test_a_body_that_a_page_can_send_without_asking_is_a_415(
    replica: ReplicaUnderTest, path: str, kind: str
) -> None:
    assert refused(ask(replica, path, BODIES[path], content_type=kind), 415, "Content-Type")
    assert replica.log.end("behaviour", 0) + replica.log.end("behaviour", 1) == 0


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_by_any_spelling_is_taken(replica: ReplicaUnderTest, path: str, kind: str) -> None:
    assert ask(replica, path, BODIES[path], content_type=kind).status_code == 200


@pytest.mark.parametrize("path", [*BODIES, "/", "/v1/features/user/u", "/metrics", "/openapi.json"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", ""]
)
def test_another_name_than_ours_is_a_421(replica: ReplicaUnderTest, path: str, host: str) -> None:
    """By DNS rebinding a page reaches this machine under its own name, and may read answers."""
    answer = ask(replica, path, BODIES.get(path), host=host)
    assert refused(answer, 421, "Host")
    assert "serve.allowed_hosts" in answer.json()["error"]["reason"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "shop.localhost", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7",
     "rank.shop.example", "Rank.Shop.example.:443"],
)  # fmt: skip
def test_our_names_and_addresses_are_answered(host: str) -> None:
    replica = ReplicaUnderTest(access={"allowed_hosts": ["rank.shop.example"]})
    assert ask(replica, "/v1/model", host=host).status_code == 200
    assert ask(replica, "/v1/score", SCORE, host=host).status_code == 200


@pytest.mark.parametrize("path", [*BODIES, "/v1/features/user/u"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:9999", "http://10.0.0.7", ""]
)
def test_a_page_of_another_site_is_a_403(replica: ReplicaUnderTest, path: str, origin: str) -> None:
    answer = ask(replica, path, BODIES.get(path), host="localhost:8000", origin=origin)
    assert refused(answer, 403, "Origin")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_our_own_page_is_answered(replica: ReplicaUnderTest, scheme: str) -> None:
    origin = f"{scheme}://localhost:8000"
    for path, body in BODIES.items():
        assert ask(replica, path, body, host="localhost:8000", origin=origin).status_code == 200


def with_keys(tmp_path: Path, *scopes: Scope, **settings: Any) -> tuple[ReplicaUnderTest, str]:
    """A replica beyond loopback, and a key with these scopes."""
    text, path = create_key(), tmp_path / "keys.json"
    write_keys(path, [key_record(text, "shop", scopes)])
    access = {"host": ANYWHERE, "keys_file": path, **settings}
    return ReplicaUnderTest(access=access), text


ROUTES = {
    "/v1/score": Scope.SCORE, "/v1/events": Scope.EVENTS, "/v1/features/user/u": Scope.SCORE,
    "/v1/model": Scope.SCORE, "/v1/pipeline": Scope.SCORE, "/openapi.json": Scope.SCORE,
    "/v1/status": Scope.METRICS, "/metrics": Scope.METRICS,
    "/v1/entities/user/u/events": Scope.SCORE,
}  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_beyond_loopback_each_route_needs_a_key_of_its_scope(tmp_path: Path, path: str) -> None:
    body = BODIES.get(path)
    for scope in Scope:
        replica, key = with_keys(tmp_path, scope)
        answer = ask(replica, path, body, authorization=f"Bearer {key}")
        if scope is ROUTES[path]:
            assert answer.status_code == 200
        else:
            assert refused(answer, 403, "Authorization")
            assert repr(ROUTES[path].value) in answer.json()["error"]["reason"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer fr_0_0", "Basic {key}", "{key}x"])
def test_without_a_right_key_it_is_a_401(tmp_path: Path, path: str, given: str) -> None:
    replica, key = with_keys(tmp_path, *Scope)
    headers = {"authorization": given.format(key=key)} if given else {}
    answer = ask(replica, path, BODIES.get(path), **headers)
    assert refused(answer, 401, "Authorization")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert key not in answer.text


def test_probes_and_the_page_itself_need_no_key(tmp_path: Path) -> None:
    replica, _ = with_keys(tmp_path)
    assert {ask(replica, path).status_code for path in ("/healthz", "/readyz", "/")} == {200}


def test_on_loopback_no_key_is_needed_unless_the_settings_say_so(tmp_path: Path) -> None:
    open_replica, _ = with_keys(tmp_path, Scope.SCORE, host="127.0.0.1")
    assert ask(open_replica, "/v1/model").status_code == 200
    strict, key = with_keys(tmp_path, Scope.SCORE, host="127.0.0.1", require_keys=True)
    assert ask(strict, "/v1/model").status_code == 401
    assert ask(strict, "/v1/model", authorization=f"bearer {key}").status_code == 200


def test_insecure_asks_for_no_key_and_still_checks_host_and_origin(tmp_path: Path) -> None:
    replica, _ = with_keys(tmp_path, insecure=True)
    assert ask(replica, "/v1/score", SCORE).status_code == 200
    assert refused(ask(replica, "/v1/model", host="evil.example"), 421, "Host")
    assert refused(ask(replica, "/v1/model", origin="https://evil.example"), 403, "Origin")


def test_a_key_of_the_settings_has_every_scope(tmp_path: Path) -> None:
    key = create_key()
    replica, _ = with_keys(tmp_path, api_key=key)
    for path in ROUTES:
        answer = ask(replica, path, BODIES.get(path), authorization=f"Bearer {key}")
        assert answer.status_code == 200, path
    assert key not in repr(replica.service.settings)


def allows(guard: RequestGuard, key: str) -> bool:
    try:
        guard.check(
            [(b"authorization", f"Bearer {key}".encode("latin-1"))],
            has_body=False,
            scope=Scope.SCORE,
        )
    except RequestError:
        return False
    return True


def test_a_key_beyond_its_rate_is_a_429_that_says_when_to_come_again(tmp_path: Path) -> None:
    path, slow, fast = tmp_path / "keys.json", create_key(), create_key()
    records = [key_record(slow, "shop", [Scope.SCORE], rate_per_s=0.01)]
    write_keys(path, [*records, key_record(fast, "shop", [Scope.SCORE])])
    replica = ReplicaUnderTest(access={"host": ANYWHERE, "keys_file": path})

    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        keys = [slow, slow, fast, fast]
        headers = [{"authorization": f"Bearer {key}", "host": "localhost"} for key in keys]
        return [await client.post("/v1/score", json=SCORE, headers=one) for one in headers]

    first, second, *others = talk(replica, story)
    assert [one.status_code for one in (first, *others)] == [200, 200, 200]
    assert refused(second, 429, "Authorization")
    assert second.headers["retry-after"] in ("99", "100")
    assert "0.01 requests a second" in second.text


@pytest.mark.parametrize(("running", "passing"), [(0, 60), (2, 60), (3, 40), (6, 20)])
def test_replicas_that_are_added_share_the_rate_of_a_key(
    tmp_path: Path, running: int, passing: int
) -> None:
    path, key = tmp_path / "keys.json", create_key()
    write_keys(path, [key_record(key, "shop", [Scope.SCORE], rate_per_s=120)])
    settings = ServeSettings(host=ANYWHERE, keys_file=path, replicas=2, max_replicas=6)

    async def seen() -> int:
        return running

    guard = RequestGuard(settings, seen)
    asyncio.run(guard.share())
    assert [allows(guard, key) for _ in range(100)].count(True) == passing


def test_keys_that_are_made_and_revoked_are_known_without_a_restart(tmp_path: Path) -> None:
    path, first, second = tmp_path / "keys.json", create_key(), create_key()
    records = [key_record(key, "shop", [Scope.SCORE]) for key in (first, second)]
    write_keys(path, records[:1])
    guard = RequestGuard(ServeSettings(host=ANYWHERE, keys_file=path))
    assert (allows(guard, first), allows(guard, second)) == (True, False)
    assert not allows(guard, "\xe9")
    write_keys(path, records[1:])
    guard.reload()
    assert (allows(guard, first), allows(guard, second)) == (False, True)


@pytest.mark.parametrize("damage", ["", "{", '{"keys": 1}'])
def test_no_key_is_right_while_the_file_cannot_be_read(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, key = tmp_path / "keys.json", create_key()
    write_keys(path, [key_record(key, "shop", [Scope.SCORE])])
    guard = RequestGuard(ServeSettings(host=ANYWHERE, keys_file=path))
    path.write_text(damage)
    guard.reload()
    assert not allows(guard, key)
    assert "no API key is accepted" in caplog.text
    path.unlink()
    guard.reload()
    assert not allows(guard, key)
    with pytest.raises(ConfigError, match="keys_file"):
        path.write_text(damage)
        RequestGuard(ServeSettings(host=ANYWHERE, keys_file=path))


def test_a_running_replica_follows_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_guard, "RELOAD_EVERY_S", 0.0)
    replica, key = with_keys(tmp_path, Scope.SCORE)
    header = {"authorization": f"Bearer {key}"}

    async def story(client: httpx.AsyncClient) -> int:
        assert (await client.get("/v1/model", headers=header)).status_code == 200
        write_keys(tmp_path / "keys.json", [])
        async with asyncio.timeout(300.0):
            while (answer := await client.get("/v1/model", headers=header)).status_code == 200:
                await asyncio.to_thread(replica.service.health)  # lets the reader's thread run
        return answer.status_code

    assert talk(replica, story) == 401


def test_a_start_beyond_loopback_without_a_key_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for host in (ANYWHERE, "10.0.0.7", "::", "shop.example"):
        with pytest.raises(ConfigError, match=r"freshrank keys create --scope score.*--insecure"):
            check_start(ServeSettings(host=host, keys_file=path))
        check_start(ServeSettings(host=host, keys_file=path, insecure=True))
    check_start(ServeSettings(keys_file=path))
    write_keys(path, [key_record(create_key(), "shop", [Scope.SCORE])])
    check_start(ServeSettings(host=ANYWHERE, keys_file=path))


def test_an_endpoint_at_an_address_that_only_serve_knows_needs_keys(tmp_path: Path) -> None:
    settings = ServeSettings(keys_file=tmp_path / "keys.json")
    with pytest.raises(ConfigError, match="freshrank keys create"):
        with_keys_required(settings)
    assert with_keys_required(
        settings.model_copy(update={"api_key": SecretStr(create_key())})
    ).keys_required
    open_to_all = settings.model_copy(update={"insecure": True})
    assert not with_keys_required(open_to_all).keys_required
