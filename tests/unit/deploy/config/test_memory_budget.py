"""What may be needed is told, and refused where there is less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from freshrank import Arm, Count, Experiment, FeatureView, Softmax, Thompson, col
from freshrank.actors.errors import ConfigError
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.memory_budget import Memory, check, memory_there, needs, total
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.examples.catalogue import pipeline as CATALOGUE
from freshrank.examples.shop.demo import MOST_ENTITIES
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL

GIB = 1 << 30
ENTITIES = Settings().shards.max_entities_per_partition
SHOP = shop_file().load()


def variant(**changed: Any) -> Pipeline:
    """The shop, with something else in it."""
    kept = ("stream", "features", "context", "label", "model", "optimizer")
    return Pipeline("variant", **{**{name: getattr(SHOP, name) for name in kept}, **changed})


def settings(**variables: str) -> Settings:
    return load_settings(None, {f"FRESHRANK_{name}": value for name, value in variables.items()})


# Firmware and kernel keep some of it.
LAPTOP = Memory(int(7.6 * GIB), "this machine")


def test_the_demo_with_its_defaults_starts_on_a_laptop_of_8_gb() -> None:
    check(SHOP, needs(SHOP, Settings(), 8), LAPTOP)


def test_a_catalogue_is_counted_in_each_replica() -> None:
    two = settings(SERVE__REPLICAS="2", SERVE__MOST_ITEMS="3000")
    parts = {"item": 2}
    (need,) = (one for one in needs(CATALOGUE, two, 2, parts) if one.setting == "serve.most_items")
    # A number by two sources, and the last sixteen shoppers of each item.
    assert need.bytes == 2 * 3000 * (900 + 40 * (1 + 1 + 16))
    scaled = settings(SERVE__MAX_REPLICAS="2", SERVE__MOST_ITEMS="3000")
    assert needs(CATALOGUE, scaled, 2, parts) == needs(CATALOGUE, two, 2, parts)
    without = replace(CATALOGUE, candidates=())
    assert not any("catalogue" in one.what for one in needs(without, two, 2, parts))


def test_the_demo_with_a_catalogue_starts_on_a_laptop_of_8_gb() -> None:
    demo = settings(SHARDS__MAX_ENTITIES_PER_PARTITION=str(MOST_ENTITIES))
    check(CATALOGUE, needs(CATALOGUE, demo, 8, {"item": 8}), LAPTOP)


def test_replicas_that_draw_weights_have_the_state_of_the_optimiser() -> None:
    two = settings(SERVE__REPLICAS="2", LEARNER__MAX_ROWS="1000")

    def copies(*arms: Arm) -> int:
        made = replace(CATALOGUE, optimizer=FTRL(), experiments=[Experiment("one", arms)])
        found = needs(made, two, 2, {"item": 2})
        return next(one.bytes for one in found if one.what == "copies of the weights")

    control = Arm("control", 0.5)
    without = copies(control, Arm("softmax", 0.5, explore=Softmax(0.1)))
    width = CATALOGUE.bound_model.rows.width
    with_state = copies(control, Arm("thompson", 0.5, explore=Thompson()))
    assert with_state - without == 2 * 1_000 * 4 * 2 * width


@pytest.mark.parametrize("optimizer", [Adagrad(), FTRL()], ids=repr)
def test_so_does_a_deepfm(optimizer: Optimizer) -> None:
    deep = variant(model=DeepFM(), optimizer=optimizer)
    check(deep, needs(deep, Settings(), 8), LAPTOP)


@pytest.mark.parametrize(
    ("variables", "partitions"),
    [
        ({"SHARDS__MAX_ENTITIES_PER_PARTITION": "500000"}, 8),
        ({"SHARDS__MAX_EVENT_IDS_PER_PARTITION": "2000000"}, 8),
        ({"LEARNER__MAX_ROWS": "20000000"}, 8),
        ({"SHARDS__OUTBOX_MAX_EXAMPLES": "400000"}, 8),
        ({"SHARDS__COUNT": "2"}, 8),
        ({"SERVE__REPLICAS": "2"}, 8),
        ({}, 9),
    ],
)
def test_everything_that_grows_is_counted(variables: dict[str, str], partitions: int) -> None:
    assert total(needs(SHOP, settings(**variables), partitions)) > total(needs(SHOP, Settings(), 8))


def test_a_redis_elsewhere_takes_its_memory_there() -> None:
    elsewhere = settings(REDIS__URL="redis://cache:6379/0")
    saved = total(needs(SHOP, Settings(), 8)) - total(needs(SHOP, elsewhere, 8))
    assert saved > 8 * ENTITIES * SHOP.plan.bytes_per_entity


def test_rows_are_counted_by_what_the_views_declare() -> None:
    class Wide(FeatureView):
        entity, source = SHOP.features[0].entity, SHOP.stream
        orders = Count(where=col.type == "order", windows=["30d"], hop="1h")

    wide = variant(features=[*SHOP.features, Wide])
    found = needs(wide, Settings(), 8)
    more = total(found) - total(needs(SHOP, Settings(), 8))
    # 720 hops of 4 bytes for each entity, here and in Redis.
    assert more >= 2 * 8 * ENTITIES * 720 * 4
    with pytest.raises(ConfigError) as caught:
        check(wide, found, Memory(12 * GIB, "this machine"))
    assert caught.value.place.startswith("view Wide (")
    assert "this machine has 12.88 GB" in caught.value.problem
    assert f"{total(found) / 1e9:.2f} GB of memory may be needed" in caught.value.problem
    assert "Set shards.max_entities_per_partition to at most" in caught.value.fix


def test_what_is_proposed_is_enough() -> None:
    there = Memory(6 * GIB, "this machine")
    with pytest.raises(ConfigError) as caught:
        check(SHOP, needs(SHOP, Settings(), 8), there)
    most = caught.value.fix.split("at most ")[1].split(" ")[0].replace(",", "")
    lower = settings(SHARDS__MAX_ENTITIES_PER_PARTITION=most)
    check(SHOP, needs(SHOP, lower, 8), there)


def test_a_table_of_the_learner_that_is_too_large_is_named_by_its_setting() -> None:
    huge = settings(LEARNER__MAX_ROWS="1000000000")
    with pytest.raises(ConfigError) as caught:
        check(SHOP, needs(SHOP, huge, 8), Memory(16 * GIB, "this machine"))
    assert caught.value.place == "learner.max_rows"
    assert "Set learner.max_rows to at most" in caught.value.fix


def test_one_setting_alone_may_not_be_enough() -> None:
    with pytest.raises(ConfigError, match="far less, and others too"):
        check(SHOP, needs(SHOP, Settings(), 8), Memory(GIB, "this machine"))


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Memory(psutil.virtual_memory().total, "this machine")),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": "5000\n",
            },
            Memory(5000, "the control group /a"),
        ),
        (
            {"proc/self/cgroup": "0::/hidden\n", "sys/fs/cgroup/memory.max": "7000\n"},
            Memory(7000, "the control group /"),
        ),
        (
            {
                "proc/self/cgroup": "9:cpu:/x\n4:memory:/box\n0::/\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "6000\n",
            },
            Memory(6000, "the control group /box"),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            Memory(psutil.virtual_memory().total, "this machine"),
        ),
    ],
    ids=["no groups", "version 2, parent", "version 2, container", "version 1", "no limit"],
)
def test_the_least_of_machine_and_control_groups_counts(
    tmp_path: Path, files: dict[str, str], expected: Memory
) -> None:
    assert memory_there(Settings(), machine(tmp_path, files)) == expected


def test_the_setting_wins(tmp_path: Path) -> None:
    given = settings(MEMORY_BYTES="123")
    assert memory_there(given, tmp_path) == Memory(123, "the setting memory_bytes")


def test_this_machine_has_some() -> None:
    assert memory_there(Settings()).bytes > 100_000_000


def test_each_replica_holds_the_weights_that_arms_are_pinned_to() -> None:
    def of_weights(pipeline: Pipeline, given: Settings) -> float:
        named = {need.what: need.bytes for need in needs(pipeline, given, 4)}
        return named["copies of the weights"]

    arms = [Arm("live", 0.5), Arm("old", 0.2, pinned="1.5"), Arm("older", 0.2, pinned="1.3")]
    tried = replace(SHOP, experiments=[Experiment("weights", arms)])
    own, more = Settings(), settings(SERVE__REPLICAS=str(Settings().serve.replicas + 1))
    of_replica = of_weights(SHOP, more) - of_weights(SHOP, own)
    pinned = 2 * own.serve.replicas * of_replica
    assert of_weights(tried, own) == of_weights(SHOP, own) + pinned
