"""The whole system while the file system of its state is really full, and afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from small_disk import fill, free
from whole_system import SHOW, WholeSystem, until

from freshrank.actors.messages import Version

# What each part calls the writing of its state in its health.
STATES = {"shard-0": "snapshots", "learner": "checkpoints"}

# Of the files that there are then.
STATE_NAMES = {"partition-0", "partition-1", "learner"}

# Seconds in which a learner that has taken over tries to write its first checkpoint.
TRIES_S = 3.0


def test_a_full_disk_costs_time_alone(system: WholeSystem, disk: Path) -> None:
    printed, learned = len(system.log()), system.learn_all()
    _, offset = system.event("saver", "order", item=5)
    system.features_with("saver", offset)
    until(lambda: health(system) == {} and set(newest_whole(disk)) == STATE_NAMES)

    # All are told, and what was written is still there.
    until(lambda: refused(system, disk))
    until(lambda: {"shard-0", "learner"} <= alerted(system))
    fill(disk)
    kept = newest_whole(disk)

    # Features, scores and weights go on.
    _, offset = system.event("saver", "order", item=6)
    assert lasting(system.features_with("saver", offset)) == (2.0, {5, 6})
    version, learner = system.version(), system.process_of("learner")
    answer = system.score("saver", show=SHOW)
    assert (answer["features"]["source"], answer["features"]["offset"]) == ("online", offset)
    assert system.learn_all() == learned + SHOW
    until(lambda: system.version() > version)
    fill_last_pages(disk / "tensorboard")
    until(lambda: refused(system, disk) and "curves" in health(system)["learner"])
    assert system.process_of("learner") == learner

    # Who takes the learner's place waits for space, and tells nobody of its epoch meanwhile.
    os.kill(learner, signal.SIGKILL)
    until(lambda: "learner is replaced" in system.log()[printed:])
    deadline = time.monotonic() + TRIES_S
    while time.monotonic() < deadline:
        fill(disk)
        assert Version.parse(system.score("saver")["model"]["version"]).epoch == version.epoch
    assert newest_whole(disk) == kept
    free(disk)
    until(lambda: system.version().epoch == version.epoch + 1)
    until(lambda: health(system) == {})
    until(lambda: all(number > kept[name] for name, number in newest_whole(disk).items()))
    assert "is started again" not in system.log()[printed:]

    # All of it ends while the disk is full again, and the rows in Redis are gone.
    until(lambda: refused(system, disk))
    _, offset = system.event("saver", "order", item=7)
    assert lasting(system.features_with("saver", offset)) == (3.0, {5, 6, 7})
    system.kill_all()
    system.redis.stop()
    system.redis.start()
    newest_whole(disk)
    free(disk)
    system.start()
    assert lasting(system.features_with("saver", offset)) == (3.0, {5, 6, 7})
    assert system.learn_all() == learned + SHOW
    until(lambda: not list(disk.rglob(".*")))


def refused(system: WholeSystem, disk: Path) -> bool:
    """Whether no part can write its state; what a try in vain has given back is taken, too."""
    fill(disk)
    system.event("filler")
    found = health(system)
    return all("No space left" in found.get(part, {}).get(STATES[part], "") for part in STATES)


def fill_last_pages(folder: Path) -> None:
    """Have no room in these files either: on a full disk their last pages may still take some."""
    page = os.sysconf("SC_PAGE_SIZE")
    for path in folder.iterdir():
        os.truncate(path, -(-path.stat().st_size // page) * page)


def health(system: WholeSystem) -> dict[str, Any]:
    """What each part says of its health, where it is not well."""
    status = system.get("/v1/status")
    found = {part: status.get(part, {"health": {"status": "missing"}})["health"] for part in STATES}
    return {part: said for part, said in found.items() if said}


def alerted(system: WholeSystem) -> set[str]:
    """Who has told in the topic of alerts that their state is not saved."""
    alerts = [json.loads(one.value) for one in system.records(f"{system.pipeline}.alerts")]
    return {one["part"] for one in alerts if one["kind"] == "not_saved"}


def newest_whole(disk: Path) -> dict[str, int]:
    """The newest number of each name; `freshrank state verify` has found those files whole."""
    verify = [sys.executable, "-m", "freshrank.deploy.cli", "state", "verify", str(disk)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = {}
    for path in disk.rglob("*.snapshot"):
        name, number, _ = path.name.split(".")
        found[name] = max(int(number), found.get(name, 0))
    return found


def lasting(answer: Any) -> tuple[float, set[int]]:
    """Those features that no passing of time changes within the test."""
    features = answer["features"]
    return features["spend_7d"], {one["id"] for one in features["recent"]}
