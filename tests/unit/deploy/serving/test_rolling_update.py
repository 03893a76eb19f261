"""An update replaces replicas alone; what needs more is refused, and what runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from freshrank.actors.alerts import Alerts
from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.memory_budget import Memory
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.serving.rolling_update import RollingUpdates, updated
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.deploy.state.record_files.update_record import RECORD, UpdateOutcome, UpdateRefusal
from freshrank.deploy.topology import learner_address, statuses_address
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

FILE, CHOSEN = shop_file("behaviour", "shop"), SecretStr("k" * 40)
ARMS = FILE.text.replace(
    "pipeline = Pipeline(",
    "from freshrank import Arm, Experiment\n\npipeline = Pipeline(",
).replace(
    "    label=",
    '    experiments=[Experiment("two", [Arm("a", 0.5), Arm("b", 0.5)])],\n    label=',
)


def settings(**variables: str) -> Settings:
    given = {"SERVE__PORT": "0", **variables}
    return load_settings(None, {f"FRESHRANK_{name}": value for name, value in given.items()})


def cluster_of(given: Settings, folder: Path = Path("state")) -> ClusterSpec:
    """A cluster as a start makes it, with a port and a key of its own."""
    serve = given.serve.model_copy(update={"port": 1234, "api_key": CHOSEN})
    return ClusterSpec(
        file=FILE,
        settings=given.model_copy(update={"serve": serve}),
        kafka=KafkaAccess("broker:9092"),
        redis_url="redis://cache",
        state=folder,
        partitions=2,
        learner=learner_address("shop"),
        statuses=statuses_address("shop"),
    )


def text(change: Callable[[str], str]) -> PipelineFile:
    changed = change(FILE.text)
    assert changed != FILE.text
    return PipelineFile(FILE.path, changed)


def test_settings_of_the_replicas_are_taken_and_what_the_start_has_chosen_stays() -> None:
    now = settings(SERVE__SHOW="3", SERVE__REPLICAS="2")
    found = updated(cluster_of(settings()), FILE, now)
    serve = found.settings.serve
    assert (serve.show, serve.replicas, serve.port, serve.api_key) == (3, 2, 1234, CHOSEN)


def test_experiments_of_the_pipeline_are_taken() -> None:
    found = updated(cluster_of(settings()), text(lambda _: ARMS), settings())
    (experiment,) = found.file.load().experiments
    assert [arm.name for arm in experiment.arms] == ["a", "b"]


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("SERVE__PORT", "serve.port has changed"),
        ("SHARDS__COUNT", "shards.count has changed"),
        ("MEMORY_BYTES", "memory_bytes has changed"),
    ],
)
def test_a_setting_that_others_have_is_refused_by_its_name(variable: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refused:
        updated(
            cluster_of(settings()),
            FILE,
            settings(**{variable: "7"}),
        )
    assert "start it again" in refused.value.fix


@pytest.mark.parametrize(
    ("was", "there", "named"),
    [
        ('"shop"', '"store"', "the pipeline's name was 'shop' and is 'store'"),
        (
            '"behaviour"',
            '"behaviours"',
            "from 'behaviours': a start would fill views_1m, ",
        ),
        (
            'half_life="',
            'half_life="9',
            "from 'behaviour': a start would renew interest",
        ),
    ],
)
def test_a_pipeline_that_shards_or_learner_would_need_is_refused_with_what_differs(
    was: str, there: str, named: str
) -> None:
    with pytest.raises(ConfigError, match="not only replicas") as refused:
        updated(cluster_of(settings()), text(lambda given: given.replace(was, there)), settings())
    assert named in str(refused.value)


def test_an_endpoint_that_would_ask_nobody_for_a_key_is_refused(tmp_path: Path) -> None:
    cluster = cluster_of(settings(SERVE__KEYS_FILE=str(tmp_path / "keys.json")))
    serve = cluster.settings.serve.model_copy(update={"api_key": None})
    open_to_all = replace(cluster, settings=cluster.settings.model_copy(update={"serve": serve}))
    required = settings(SERVE__REQUIRE_KEYS="true", SERVE__KEYS_FILE=str(tmp_path / "keys.json"))
    with pytest.raises(ConfigError, match="API key"):
        updated(open_to_all, FILE, required)


class Deployments:
    """What is deployed one after the other; some are refused."""

    def __init__(self, *refused: int) -> None:
        self.shows: list[int] = []
        self.done: Callable[[], None] = lambda: None
        self._refused = refused

    async def __call__(self, cluster: ClusterSpec) -> None:
        self.shows.append(cluster.settings.serve.show)
        self.done()
        if cluster.settings.serve.show in self._refused:
            raise Unavailable("ray serve", "it does not start")


def updates(
    folder: Path,
    deployments: Deployments,
    read: Callable[[], tuple[PipelineFile, Settings]],
    memory: Memory | None = None,
) -> tuple[RollingUpdates, Alerts]:
    alerts = Alerts("driver", SystemClock())
    cluster = cluster_of(settings(), folder)
    return RollingUpdates(cluster, read, deployments, memory, alerts, lambda line: None), alerts


def test_new_replicas_that_do_not_start_are_told_and_the_next_update_begins_at_those_of_before(
    tmp_path: Path,
) -> None:
    shows = iter("345")
    deployments = Deployments(4)
    made, alerts = updates(tmp_path, deployments, lambda: (FILE, settings(SERVE__SHOW=next(shows))))

    async def three() -> None:
        for _ in range(3):
            await made.update()

    asyncio.run(three())
    assert deployments.shows == [3, 4, 3, 5]
    assert alerts.status()["by_kind"] == {"update_refused": 1}


def test_a_file_that_cannot_be_read_changes_nothing_and_is_an_alert_with_the_reason(
    tmp_path: Path,
) -> None:
    deployments = Deployments()

    def read() -> tuple[PipelineFile, Settings]:
        return PipelineFile.read(tmp_path / "gone.py"), settings()

    made, alerts = updates(tmp_path, deployments, read)
    asyncio.run(made.update())
    assert deployments.shows == []
    assert "gone.py" in str(alerts.status()["newest"])


def test_more_replicas_than_the_memory_has_room_for_are_refused(tmp_path: Path) -> None:
    deployments = Deployments()
    memory = Memory(5 * 10**9, "this machine")
    counts = iter("19")
    made, alerts = updates(
        tmp_path, deployments, lambda: (FILE, settings(SERVE__REPLICAS=next(counts))), memory
    )
    asyncio.run(made.update())
    assert len(deployments.shows) == 1, alerts.status()
    asyncio.run(made.update())
    assert len(deployments.shows) == 1
    assert "memory may be needed and this machine has" in str(alerts.status()["newest"])


def outcomes(
    made: RollingUpdates, folder: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> list[UpdateOutcome]:
    """What is recorded of so many updates, each asked for when the one before is recorded."""
    found = list[UpdateOutcome]()

    async def story() -> None:
        loop, asked, recorded = asyncio.get_running_loop(), asyncio.Event(), asyncio.Semaphore(0)
        write = JsonRecord.write

        def written(record: JsonRecord, *given: Any) -> None:
            write(record, *given)
            loop.call_soon_threadsafe(recorded.release)

        monkeypatch.setattr(JsonRecord, "write", written)
        running = asyncio.ensure_future(made.run(asked))
        for _ in range(count):
            asked.set()
            await recorded.acquire()
            found.append(RECORD.read(folder))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
    return found


def test_each_request_for_an_update_is_done_once_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployments = Deployments()
    made, _ = updates(tmp_path, deployments, lambda: (FILE, settings(SERVE__SHOW="3")))
    first, second = outcomes(made, tmp_path, 2, monkeypatch)
    assert deployments.shows == [3, 3]
    assert first.refusal is second.refusal is None
    assert (first.file, first.began_s < second.began_s) == (FILE.path, True)


def test_the_record_of_a_refusal_tells_a_mistake_from_a_start_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([settings(SERVE__SHOW="4"), settings(SHARDS__COUNT="7")])
    made, _ = updates(tmp_path, Deployments(4), lambda: (FILE, next(given)))
    failed, mistaken = outcomes(made, tmp_path, 2, monkeypatch)
    assert failed.refusal == UpdateRefusal(
        "the new replicas did not start, those of before go on: ray serve: it does not start",
        mistake=False,
    )
    assert mistaken.refusal is not None
    assert mistaken.refusal.mistake
    assert "shards.count has changed" in mistaken.refusal.reason


def test_an_outcome_that_cannot_be_recorded_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    lines = list[str]()
    read = lambda: (FILE, settings(SERVE__SHOW="3"))  # noqa: E731
    cluster, alerts = cluster_of(settings(), tmp_path / "gone"), Alerts("driver", SystemClock())

    async def story() -> None:
        asked, told = asyncio.Event(), asyncio.Event()

        def log(line: str) -> None:
            lines.append(line)
            if "cannot be told" in line:
                told.set()

        deployments = Deployments()
        made = RollingUpdates(cluster, read, deployments, None, alerts, log)
        running = asyncio.ensure_future(made.run(asked))
        asked.set()
        await told.wait()
        assert deployments.shows == [3]
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
    assert "No such file" in lines[-1]
