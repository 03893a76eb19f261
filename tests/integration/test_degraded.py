"""What the whole system goes on doing while a part of it is away, and what it says of that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from whole_system import SHOW, WholeSystem, until

from freshrank.actors.messages import Version
from freshrank.deploy.servers.brokers import Broker

# Seconds for Ray to start a process again, with all that it imports, beside ten busy processes for
# each core.
RESTART_S = 400.0


def test_without_redis_scores_go_on_and_say_what_they_rest_on(system: WholeSystem) -> None:
    _, offset = system.event("known")
    system.features_with("known", offset)
    assert system.score("known")["features"]["source"] == "online"

    system.redis.stop()
    try:
        answer = system.score("known")
        assert answer["features"]["source"] == "stale"
        assert answer["features"]["offset"] == offset
        assert system.score("stranger")["features"]["source"] == "outage"
        # The replica and the shard find it out on their own, each in its time.
        until(lambda: set(system.readiness() or {}) == {"online_store", "shard-0"})
        _, meanwhile = system.event("known")
    finally:
        system.redis.start()  # empty
    until(lambda: system.readiness() == {})
    assert system.features_with("known", meanwhile)["source"] == "online"
    assert system.score("known")["features"]["source"] == "online"
    until(lambda: system.score("stranger")["features"]["source"] == "new")


def test_without_the_learner_scores_go_on_and_their_age_grows(system: WholeSystem) -> None:
    learned = system.learn_all()
    system.score("patient", show=SHOW)
    assert system.learn_all() == learned + SHOW
    before = system.version()
    os.kill(system.process_of("learner"), signal.SIGKILL)
    answers = scores_until_a_newer_epoch(system, before)

    versions = [Version.parse(one["model"]["version"]) for one in answers]
    assert versions == sorted(versions)
    # Nothing newer was published meanwhile, and each answer says so.
    ages = [one["model"]["age_ms"] for one in answers if one["model"]["version"] == str(before)]
    assert ages == sorted(ages) and ages[-1] > ages[0]
    assert versions[-1].epoch == before.epoch + 1
    assert system.learn_all() == learned + SHOW


def test_a_killed_shard_goes_on_and_applies_nothing_twice(system: WholeSystem) -> None:
    _, offset = system.event("loyal", "order", item=7)
    before = system.features_with("loyal", offset)
    learned = system.learn_all()
    system.score("loyal", show=SHOW)
    os.kill(system.process_of("shard-0"), signal.SIGKILL)
    _, newer = system.event("loyal", "order", item=8)
    after = system.features_with("loyal", newer, RESTART_S)
    for name in ("spend_1h", "spend_7d"):
        assert after["features"][name] == before["features"][name] + 1.0
    assert {one["id"] for one in after["features"]["recent"]} == {7, 8}
    assert system.learn_all() == learned + SHOW


def test_a_killed_replica_is_ready_again_only_with_weights(system: WholeSystem) -> None:
    before = system.version()
    (replica,) = system.processes("ray::ServeReplica")
    system.kill_process("ray::ServeReplica")

    def other() -> bool:
        return bool(set(system.processes("ray::ServeReplica")) - {replica})

    until(other, RESTART_S)
    until(lambda: system.readiness() == {}, RESTART_S)
    assert Version.parse(system.score("reader")["model"]["version"]) >= before


def test_without_kafka_scores_go_on_and_the_shard_names_it_until_it_is_back(
    system: WholeSystem, kafka: Broker
) -> None:
    _, offset = system.event("cut off")
    system.features_with("cut off", offset)
    kafka.stop()
    try:
        assert "no fetch" in until(lambda: health(system).get("kafka"))
        assert system.score("cut off")["features"]["offset"] == offset
    finally:
        kafka.start()
    until(lambda: health(system) == {}, RESTART_S)
    _, newer = system.event("cut off")
    system.features_with("cut off", newer)


def health(system: WholeSystem) -> Mapping[str, str]:
    """What the shard says does not work; that it says nothing is a trouble, too."""
    found: Mapping[str, str] = system.get("/v1/status").get("shard-0", {}).get("health")
    return {"status": "none has been posted"} if found is None else found


def scores_until_a_newer_epoch(system: WholeSystem, before: Version) -> list[Any]:
    """Answers, each of which had to be a 200, from now until the weights are of a later epoch."""
    answers = []
    deadline = time.monotonic() + RESTART_S
    while True:
        answers.append(system.score("patient"))
        if Version.parse(answers[-1]["model"]["version"]).epoch > before.epoch:
            return answers
        assert time.monotonic() < deadline, answers[-1]
        time.sleep(0.05)
