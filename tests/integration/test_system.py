"""The whole system as `freshrank run` starts it, on real Kafka and Redis: used and resumed."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from whole_system import SHOW, WholeSystem, busy, until

from freshrank.actors.impressions import decode_impression
from freshrank.actors.messages import SourceOffsets, Version, dominates
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

# Seconds from an event to a score with it, on an idle machine and at once after a start, while the
# hot standbys load their code. Otherwise it takes some milliseconds.
FRESH_S = 2.0
# An item that is no candidate: a click on it corrects no example.
NOT_SHOWN = 30


def test_an_event_by_rest_reaches_the_features_and_a_score(system: WholeSystem) -> None:
    _, offset = system.event("reader", "click", item=3)
    features = system.features_with("reader", offset)
    assert features["source"] == "online"
    assert features["features"]["clicks_1m"] == 1
    assert recent(features) == {3}
    answer = system.score("reader")
    assert answer["features"]["offset"] == offset
    assert len(answer["scores"]) == len(answer["ranking"]) == 10


def test_a_click_on_what_was_scored_is_in_a_version_that_then_answers(system: WholeSystem) -> None:
    shown = until(lambda: shown_online(system, "clicker"))
    partition, impression = until(lambda: impression_of(system, shown["request_id"]))
    item = shown["ranking"][0] + 1
    clicked_in, click = system.event("clicker", "click", item)
    assert clicked_in == partition
    topics = system.topic, f"{system.pipeline}.impressions"
    wanted = SourceOffsets(dict(zip(topics, (click + 1, impression + 1), strict=True)))
    version = until(lambda: version_with(system, partition, wanted))
    assert version > Version.parse(shown["model"]["version"])
    assert Version.parse(system.score("clicker")["model"]["version"]) >= version


def test_a_broken_record_is_put_aside_and_the_stream_goes_on(system: WholeSystem) -> None:
    place = asyncio.run(broken_record(system, b"sloppy"))
    _, offset = system.event("sloppy")
    system.features_with("sloppy", offset)
    (headers,) = until(lambda: rejected(system, place))
    assert headers["topic"].decode() == system.topic
    assert headers["reason"]


def test_an_emptied_redis_is_filled_again_without_traffic(system: WholeSystem) -> None:
    _, offset = system.event("settled", "order")
    before = system.features_with("settled", offset)
    with redis.Redis.from_url(system.redis.url) as client:
        client.flushall()
    after = system.features_with("settled", offset)
    assert after["features"]["spend_7d"] == before["features"]["spend_7d"] == 1.0


def test_a_second_run_is_refused_and_the_first_goes_on(system: WholeSystem, tmp_path: Path) -> None:
    process, version = system.process_of("shard-0"), system.version()
    status, printed = system.second_run(tmp_path / "elsewhere")
    assert status == 2, printed
    assert f"another run writes rows of 'fr:{system.pipeline}' to this Redis" in printed
    assert "redis.url" in printed and "Stop it, give this pipeline another name" in printed
    assert "Traceback" not in printed and "starting the learner" not in printed
    status, printed = system.second_run(system.state)
    assert (status, "another run keeps its state there" in printed) == (2, True), printed

    system.score("undisturbed", show=SHOW)
    examples = system.learn_all()
    system.score("undisturbed", show=SHOW)
    _, offset = system.event("undisturbed", "click", item=NOT_SHOWN)
    assert system.features_with("undisturbed", offset)["features"]["clicks_1m"] == 1
    assert system.learn_all() == examples + SHOW
    assert system.process_of("shard-0") == process
    until(lambda: system.version() > version)
    assert system.version().epoch == version.epoch


@pytest.mark.stops_the_system
def test_a_stop_is_in_order_and_a_second_start_goes_on(system: WholeSystem) -> None:
    _, offset = system.event("regular", "order", item=5)
    before = system.features_with("regular", offset)
    system.score("regular", show=SHOW)
    examples = system.learn_all()
    applied, version = system.get("/v1/model")["applied"], system.version()

    # As `timeout` does it, and a terminal's Ctrl-C: all of the group hear of it.
    assert system.stop(signal.SIGTERM, group=True) == 0, system.log()
    assert system.summary()["examples"] == examples
    assert "summary" in system.log() and "while stopping" not in system.log()

    system.start()
    assert seconds_to_a_score_with(system, "newcomer") < FRESH_S * busy()
    assert system.version().epoch == version.epoch + 1
    after = system.features_with("regular", offset)
    assert after["features"]["spend_7d"] == before["features"]["spend_7d"]
    assert recent(after) == {5}
    resumed = system.get("/v1/model")["applied"]
    assert all(
        dominates(SourceOffsets(resumed[partition]), SourceOffsets(offsets))
        for partition, offsets in applied.items()
    )
    _, newer = system.event("regular", "click", item=NOT_SHOWN)
    assert recent(system.features_with("regular", newer)) == {5, NOT_SHOWN}
    system.score("regular", show=SHOW)
    assert system.learn_all() == examples + SHOW  # each once, over both lives

    assert system.stop(signal.SIGINT, group=False) == 0, system.log()
    assert system.summary()["examples"] == examples + SHOW
    assert "while stopping" not in system.log()


def seconds_to_a_score_with(system: WholeSystem, user: str) -> float:
    """Seconds from an event of `user` until the answer to a score of theirs contains it."""
    posted = time.monotonic()
    _, offset = system.event(user, "click", item=4)
    answer = until(lambda: contains(system.score(user), offset))
    assert answer["features"]["source"] == "online"
    return time.monotonic() - posted


def contains(answer: Any, offset: int) -> Any:
    return answer if answer["features"]["offset"] == offset else None


def recent(answer: Any) -> set[int]:
    return {one["id"] for one in answer["features"]["recent"]}


def shown_online(system: WholeSystem, user: str) -> dict[str, Any] | None:
    """An answer that is learned from: on a busy machine a row may not be read in time."""
    answer = system.score(user, show=SHOW)
    return answer if answer["features"]["source"] in ("online", "new") else None


def version_with(system: WholeSystem, partition: int, wanted: SourceOffsets) -> Version | None:
    model = system.get("/v1/model")
    reached = SourceOffsets(model["applied"].get(str(partition)))
    return Version.parse(model["version"]) if dominates(reached, wanted) else None


def impression_of(system: WholeSystem, request_id: str) -> tuple[int, int] | None:
    for record in system.records(f"{system.pipeline}.impressions"):
        if decode_impression(record.value).request_id == request_id:
            return record.partition, record.offset
    return None


async def broken_record(system: WholeSystem, key: bytes) -> tuple[int, int]:
    sink = KafkaSink(KafkaAccess(system.bootstrap))
    await sink.start()
    place = await sink.send(system.topic, key, b"{broken")
    await sink.stop()
    return place


def rejected(system: WholeSystem, place: tuple[int, int]) -> list[dict[str, bytes]]:
    """The headers of the dead letters that name this place."""
    found = [dict(one.headers) for one in system.records(f"{system.topic}.dead")]
    return [one for one in found if (int(one["partition"]), int(one["offset"])) == place]
