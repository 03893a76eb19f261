"""The outside parts, real ones, each started once for all integration tests."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import CannotMount, free, small_disk
from whole_system import WholeSystem

from freshrank.deploy.cluster.ray_environment import prepare
from freshrank.deploy.servers.apache_kafka import ApacheKafka, kafka_available
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.redis_server import RedisServer

ROOT = Path(__file__).parent.parent.parent

_NUMBERS = itertools.count()

# Tests of this file, or that use this fixture, are run by one process, and begin first, in this
# order: they take longest. Other tests are shared out by file.
_GROUPS = ("test_chaos", "one_system", "ray_cluster")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment of a process that runs tests, before any test module is imported."""
    if not hasattr(config, "workerinput") and config.getoption("numprocesses", None):
        return  # it gives its environment to those that run the tests
    # Of these tests coverage measures this process alone: measured too, Ray's own processes come
    # up too late for Ray on a busy machine.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    # Ray reads these when it is imported.
    prepare(address=None)
    # Actors look up what a test module defines under its own name.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])


def pytest_itemcollected(item: pytest.Item) -> None:
    """Name the group of the test for `--dist=loadgroup`."""
    item.add_marker(pytest.mark.xdist_group(_group(item)))


@pytest.hookimpl(trylast=True)  # after the order is made a random one
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long groups first, and in each group those tests last that stop the shared system.

    A start of it takes half a minute.
    """
    places = {
        group: place for place, group in enumerate(dict.fromkeys([*_GROUPS, *map(_group, items)]))
    }

    def rank(item: pytest.Item) -> tuple[int, bool]:
        return places[_group(item)], item.get_closest_marker("stops_the_system") is not None

    items.sort(key=rank)


@pytest.hookimpl(trylast=True)  # after xdist has added the groups to the ids, by which it deals
def pytest_collection_finish(session: pytest.Session) -> None:
    """End a run whose processes would each start the servers that a group of tests shares."""
    if getattr(session.config.option, "loadgroup", False):
        apart = [one.nodeid for one in session.items if not one.nodeid.endswith(f"@{_group(one)}")]
        if apart:
            raise pytest.UsageError(f"pytest-xdist keeps no groups with this pytest: {apart[0]}")


def _group(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    return next((one for one in _GROUPS if one in (item.path.stem, *fixtures)), item.path.stem)


@pytest.fixture(scope="session")
def kafka_available_here() -> None:
    """Skip where Apache Kafka cannot be started; fail where CI is set."""
    missing = kafka_available()
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"integration tests need Apache Kafka where CI is set: {missing}")
        pytest.skip(missing)


@pytest.fixture(scope="session")
def kafka(kafka_available_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka without a password; topics are not created by themselves."""
    with ApacheKafka(tmp_path_factory.mktemp("kafka"), with_password=False) as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis; tests keep apart by `fresh_name`."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for all tests: starting it takes ten seconds."""
    import ray  # noqa: PLC0415 - not needed by most of the tests

    def start() -> None:
        ray.init(
            num_cpus=4,  # reserved, not used: the same on every machine
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200_000_000,  # bytes: ours are small
        )

    try:
        start()
    except Exception as error:
        # Ray gives its own processes 30 s, which does not do on a very busy machine.
        if "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        start()
    yield
    ray.shutdown()


@pytest.fixture
def system(one_system: WholeSystem) -> WholeSystem:
    """One whole system for all tests, running and its store filled when a test begins.

    A test may stop it, and may empty the store.
    """
    if not one_system.running:
        one_system.start()
    one_system.until_filled()
    return one_system


@pytest.fixture(scope="session")
def one_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | CannotMount]:
    """A small file system for the state of `one_system`; the reason where there can be none."""
    with contextlib.ExitStack() as stack:
        try:
            place = tmp_path_factory.mktemp("disk") / "disk"
            mounted: Path | CannotMount = stack.enter_context(small_disk(place, "size=64m"))
        except CannotMount as reason:
            mounted = reason
        yield mounted


@pytest.fixture
def disk(one_disk: Path | CannotMount) -> Iterator[Path]:
    """The file system of the state of `system`, for tests that fill it up; free again after."""
    if isinstance(one_disk, CannotMount):
        pytest.skip(f"no file system can be mounted here: {one_disk}")
    yield one_disk
    free(one_disk)


@pytest.fixture(scope="session")
def one_system(
    kafka: Broker, one_disk: Path | CannotMount, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WholeSystem]:
    """The system that `system` gives to tests."""
    often = {
        "FRESHRANK_SHARDS__SNAPSHOT_INTERVAL_S": "0.5",
        "FRESHRANK_LEARNER__CHECKPOINT_INTERVAL_S": "0.5",
    }
    system = WholeSystem(
        kafka.bootstrap,
        tmp_path_factory.mktemp("system"),
        f"sys-{os.getpid()}",
        state=None if isinstance(one_disk, CannotMount) else one_disk,
        settings=often,
    )
    system.redis.start()
    try:
        system.start()
        yield system
    finally:
        system.kill_all()
        system.kill()
        system.redis.stop()


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has: for topics, namespaces, pipelines."""
    short = "".join(one if one.isalnum() else "-" for one in request.node.name)[:40].strip("-")
    return f"{short}-{os.getpid()}-{next(_NUMBERS)}"
