"""`freshrank run` as a person starts it: a process of its own, spoken to over HTTP and signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiokafka
import httpx
import msgspec
import psutil

from freshrank.actors.messages import Version
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.benchmarks.workloads.system_process import RunningSystem, kill_process
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import ask
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.examples.recommend import Behaviour
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import partition_count

T = TypeVar("T")

# Seconds, all reached only by what fails: a cold Ray with Serve, and anything that takes
# milliseconds on an idle machine, both with ten busy processes beside for each core.
START_S, PATIENCE_S = 400.0, 120.0

# Seconds that a stop takes at most, as the documentation promises it where nothing else runs.
_STOP_S = 10.0

# Ray gives its own processes 30 s to come up, and a system then ends with this in its log.
_RAY_IS_LATE, _MOST_STARTS = "Start again when the machine is less busy", 5

# So many numbers, added in so many seconds on a fast machine: some take four times as long.
_COUNTED, _COUNTED_IN_S = 1_000_000, 0.01

_COMMAND = [sys.executable, "-m", "freshrank.deploy.cli"]

CANDIDATES = [{"item_id": item, "category_id": item % 20} for item in range(1, 11)]
SHOW = 4
"""So many of them are shown: each gives one example."""


def until(read: Callable[[], T | None], seconds: float = PATIENCE_S) -> T:
    """What `read` gives as soon as that is something."""
    deadline = time.monotonic() + seconds
    while True:
        found = read()
        if found:
            return found
        assert time.monotonic() < deadline, f"{read} gave {found!r} for {seconds} s"
        time.sleep(0.05)


def has_title(process: psutil.Process, title: str) -> bool:
    """Whether its command line holds `title`; that of one that has ended holds nothing."""
    try:
        return title in " ".join(process.cmdline())
    except psutil.Error:
        return False


def busy() -> float:
    """How many times as long as on an idle, fast machine things take, by its load and its speed."""
    began_s = time.process_time()
    sum(range(_COUNTED))
    slow = (time.process_time() - began_s) / _COUNTED_IN_S
    return max(1.0, slow) * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class WholeSystem:
    """The demo's pipeline under names of its own; started, stopped and started again.

    Parameters
    ----------
    folder
        For all that it writes, but its state where `state` says another place for that.
    settings
        Environment variables.
    text
        From the text of the demo's pipeline that of the one that is run.
    config
        The text of a file with settings; variables override it.
    """

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        name: str,
        *,
        state: Path | None = None,
        settings: Mapping[str, str] | None = None,
        text: Callable[[str], str] = str,
        config: str = "",
    ) -> None:
        self.topic, self.pipeline = f"{name}-behaviour", name
        self.bootstrap = bootstrap
        self.redis = RedisServer()
        """Comes back empty, where it was, when it is started again."""
        self.summary_file = folder / "summary.json"
        self._folder = folder
        self.state = state or folder / "state"
        self._settings = settings or {}
        self.port = free_port()
        self._file, self._config = folder / "pipeline.py", folder / "settings.toml"
        self._config.write_text(config, encoding="utf-8")
        self._file.write_text(text(shop_file(self.topic, name).text), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S)
        self._events = 0

    def start(self) -> None:
        """Start it and wait until it is ready; once more where Ray did not come up in time."""
        for _ in range(_MOST_STARTS):
            printed = len(self.log())
            self._launch()
            until(lambda: self.ready() or not self.running, START_S)
            if _RAY_IS_LATE not in self.log()[printed:]:
                break
        assert self.running, self.log()

    def ready(self) -> bool:
        """Whether the endpoint says that it is ready; False where it does not answer."""
        question = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        return ask("127.0.0.1", self.port, question).startswith(b"HTTP/1.1 200")

    def second_run(self, state: Path) -> tuple[int, str]:
        """Run the same pipeline on the same servers once more; its exit code, and what it prints.

        It must end by itself. Its state is in `state`, and its endpoint would have another port.
        """
        own = {"FRESHRANK_STATE": str(state), "FRESHRANK_SERVE__PORT": str(free_port())}
        return self._ended("run", *self._given, env={**self._environment(), **own})

    @property
    def _given(self) -> list[str]:
        return [str(self._file), "--config", str(self._config)]

    def _ended(self, *arguments: str, env: Mapping[str, str]) -> tuple[int, str]:
        """Exit status and output of a command, which must end by itself."""
        ended = subprocess.run(
            [*_COMMAND, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
            timeout=PATIENCE_S,
        )
        return ended.returncode, ended.stdout

    def _launch(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_COMMAND, "run", *self._given, "--json", str(self.summary_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )

    def update(
        self, text: Callable[[str], str] = str, config: str | None = None
    ) -> tuple[int, str]:
        """Change the text of the pipeline's file, or the settings, and update the replicas by it.

        Gives the exit status of the command, and what it prints.
        """
        if config is not None:
            self._config.write_text(config, encoding="utf-8")
        self.rewrite(text)
        return self._ended("update", *self._given, env=self._environment())

    def rewrite(self, text: Callable[[str], str]) -> None:
        """Change the text of the pipeline's file."""
        self._file.write_text(text(self._file.read_text(encoding="utf-8")), encoding="utf-8")

    def plan(self) -> tuple[int, str]:
        """Exit status and output of `freshrank plan`."""
        return self._ended("plan", *self._given, env=self._environment())

    @property
    def grpc_port(self) -> int:
        """That of the settings."""
        return int(self._settings["FRESHRANK_SERVE__GRPC_PORT"])

    @property
    def running(self) -> bool:
        """Whether its driver has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self, number: signal.Signals, *, group: bool) -> int:
        """Signal the process (or its group), and give its exit code; it must end in time."""
        assert self._process is not None
        if group:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        return self._process.wait(_STOP_S * busy())

    def end(self, seconds: float) -> int:
        """Wait until it has ended by itself, at most so many seconds; gives its exit code."""
        assert self._process is not None
        return self._process.wait(seconds * busy())

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._http.close()

    def kill_all(self) -> None:
        """SIGKILL every process of it at once, and come back when there is none."""

        def none_left() -> bool:
            for process in self.processes(""):
                kill_process(process)
            return not self.processes("")

        until(none_left)
        assert self._process is not None
        self._process.wait()

    def log(self) -> str:
        """All that it has printed."""
        file = self._folder / "log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def get(self, path: str) -> Any:
        """The body of a 200 answer."""
        answer = self._http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def text(self, path: str) -> str:
        """The text of a 200 answer."""
        answer = self._http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.text

    def post(self, path: str, body: object) -> Any:
        """The body of a 200 answer."""
        answer = self._http.post(path, json=body)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def forget(self, user: str) -> None:
        """Ask for a user to be forgotten."""
        answer = self._http.delete(f"/v1/entities/user/{user}")
        assert answer.status_code == 202, answer.text

    def readiness(self) -> Mapping[str, str] | None:
        """What `/readyz` says is missing, nothing when it is ready; None while nobody answers."""
        answer = self._http.get("/readyz")
        if "missing" not in answer.text:
            return None
        body = answer.json()
        assert (answer.status_code == 200) == body["ready"]
        found: Mapping[str, str] = body["missing"]
        return found

    def processes(self, title: str) -> list[int]:
        """Ids of this system's processes whose command line holds `title`."""
        return RunningSystem(self.port, self.state).processes(title)

    def server(self, title: str) -> int:
        """Id of the server that the run itself has started, by its command line.

        Valkey writes its title over its environment, so `processes` does not find it.
        """
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        (found,) = [one.pid for one in children if has_title(one, title)]
        return found

    def process_of(self, part: str) -> int:
        """Id of the process that is `part` at present: not of one that stands by."""
        found: list[int] = []

        def posted() -> bool:
            found[:] = [self.get("/v1/status").get(part, {}).get("process_id", 0)]
            return found[0] > 0

        until(posted)  # what was posted before it died may have expired
        return found[0]

    def kill_process(self, title: str) -> None:
        """SIGKILL the one process of that title."""
        (process,) = self.processes(title)
        os.kill(process, signal.SIGKILL)

    def event(self, user: str, kind: str = "view", item: int = 1) -> tuple[int, int]:
        """Post one event of `user`; gives its place in the topic."""
        self._events += 1
        event = Behaviour(
            event_id=f"{user}-{kind}-{self._events}-{os.getpid()}",
            user_id=user,
            item_id=item,
            category_id=item % 20,
            type=kind,
            price=1.0,
            ts=time.time_ns() // 1_000_000,
        )
        (place,) = self.post("/v1/events", msgspec.to_builtins(event))["positions"]
        return place["partition"], place["offset"]

    def score(self, user: str, show: int = 0) -> Any:
        """The answer to a score of all candidates."""
        request = {"user": user, "candidates": CANDIDATES, "show": show}
        return self.post("/v1/score", request)

    def features(self, user: str) -> Any:
        """The features of `user` as of now."""
        return self.get(f"/v1/features/user/{user}")

    def features_with(self, user: str, offset: int, seconds: float = PATIENCE_S) -> Any:
        """The features of `user`, once they hold the event at `offset`."""

        def holds() -> Any:
            answer = self.features(user)
            return answer if answer["offset"] == offset else None

        return until(holds, seconds)

    def until_filled(self) -> None:
        """Wait until the online store has all rows again, and who is new is told from an outage.

        What is shown before is not learned from.
        """
        until(lambda: self.features("nobody")["source"] == "new")

    def version(self) -> Version:
        """Of the weights that answer now."""
        return Version.parse(self.get("/v1/model")["version"])

    def learn_all(self) -> int:
        """Let all that was shown become examples, and be learned; gives how many there were ever.

        What was shown and not clicked becomes an example when
        later events have come, of every partition.
        """
        users = [f"clock-{number}" for number in range(8)]

        def learned() -> Mapping[str, Any] | None:
            for user in users:
                self.event(user)
            parts = self.get("/v1/status")
            shards = [status for part, status in parts.items() if part.startswith("shard")]
            waiting = [one["pending"] + one["unsent"] for one in shards if not one["starting"]]
            if len(waiting) == len(shards) > 0 and sum(waiting) == 0 and "learner" in parts:
                learner: Mapping[str, Any] = parts["learner"]
                return None if learner["pending_examples"] else learner
            return None

        self._posted_anew()
        until(learned)
        self._posted_anew()
        examples: int = until(learned)["examples"]
        return examples

    def _posted_anew(self) -> None:
        """Wait until each shard and the learner have posted a status of a later moment than this.

        That is their second from now on: the first may have been under way. The age of the newest
        file is in each, so no two are equal.
        """

        def posted() -> Mapping[str, Any]:
            parts = self.get("/v1/status")
            return {one: parts[one] for one in parts if one.startswith(("shard", "learner"))}

        def changed(before: Mapping[str, Any]) -> bool:
            now = posted()
            return all(now.get(part) != status for part, status in before.items())

        for _ in range(2):
            until(partial(changed, posted()))

    def records(self, topic: str) -> list[Any]:
        """All that a topic holds now."""
        return asyncio.run(_records(self.bootstrap, topic))

    def summary(self) -> Mapping[str, Any]:
        """What the last stop has written."""
        found: Mapping[str, Any] = json.loads(self.summary_file.read_text(encoding="utf-8"))
        return found

    def _environment(self) -> Mapping[str, str]:
        # Those of the tests' own Ray are not for a cluster beside it.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        if "FRESHRANK_REDIS__URL" not in self._settings:
            ours["FRESHRANK_REDIS__URL"] = self.redis.url
        return ours | {
            "FRESHRANK_KAFKA__BOOTSTRAP": self.bootstrap,
            "FRESHRANK_KAFKA__PARTITIONS": "2",
            "FRESHRANK_SERVE__PORT": str(self.port),
            "FRESHRANK_STATE": str(self.state),
            **self._settings,
        }


async def _records(bootstrap: str, topic: str) -> list[Any]:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    count = await partition_count(KafkaAccess(bootstrap), topic)
    parts = [aiokafka.TopicPartition(topic, one) for one in range(count)]
    consumer.assign(parts)
    for part in parts:
        consumer.seek(part, 0)
    wanted = sum((await consumer.end_offsets(parts)).values())
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < wanted:
            for some in (await consumer.getmany(timeout_ms=200)).values():
                found += some
    await consumer.stop()
    return found
