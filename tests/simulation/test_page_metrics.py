"""The page's functions over the statuses that the parts of a whole system post."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec
from node import node

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.crashes.recorded_stream import recorded_log, recorded_pipeline
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.serve.http import page
from freshrank.serve.monitoring.posted_metrics import expose

# Every tile as `Tile.write` reads it: its lines, the text below, the reason why it is missing.
SHOWN = """
const { status, model, ready } = JSON.parse(require("fs").readFileSync(0, "utf8"));
metricsOf(status, model, 1000);
const now = metricsOf(status, model, 2000);
const tiles = Object.fromEntries(TILES.map((tile) => [tile.titleOf?.(now) ?? tile.title, [
  ...tile.lines.map((line) => formatted(line, now)), tile.under?.(now) ?? "", tile.missing(now)]]));
process.stdout.write(JSON.stringify({ tiles, alerts: alertsOf(status, ready, model) }));
"""

Answers = dict[str, Any]


def answers_of_a_system(max_weight: float) -> Answers:
    """The answers that the page gets; the guard trips where `max_weight` is small."""

    async def run() -> Answers:
        guard = {"max_weight": max_weight}
        settings = Settings.model_validate({"learner": {"guard": guard}, "shards": {"count": 2}})
        world = World(recorded_log(recorded_pipeline()), SystemClock())
        system = LocalSystem(recorded_pipeline(), settings, world)
        await system.start()
        await system.drain()
        await system.freeze()
        await system.score({"user": "u0", "candidates": [{"item": 1}]})
        posted = await system.replica.status.collect()
        for number, shard in enumerate(system.shards):
            posted[f"shard-{number}"] = await shard.status()
        posted["learner"] = await system.learner.status()
        model = json.loads(msgspec.json.encode(system.replica.model.describe()))
        ready = {"ready": True, "missing": await system.replica.readiness()}
        await system.stop()
        return {"status": json.loads(msgspec.json.encode(posted)), "model": model, "ready": ready}

    return asyncio.run(run())


def shown_by_the_page(answers: Answers) -> dict[str, Any]:
    """The texts on the page, by its script."""
    names = ("text.js", "metrics.js", "charts.js", "tiles.js", "alerts.js")
    parts = [files(page).joinpath(name).read_text() for name in names]
    ran = subprocess.run(
        [*node(), "-e", "\n".join(['"use strict";', *parts, SHOWN])],
        input=json.dumps(answers), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    shown: dict[str, Any] = json.loads(ran.stdout)
    return shown


def test_a_healthy_system_is_shown_without_an_alert() -> None:
    shown = shown_by_the_page(answers_of_a_system(100.0))
    assert shown["alerts"] == []
    assert shown["tiles"]["Lag"][1] == "2 shards"
    assert shown["tiles"]["Time to answer"][0].endswith("s")  # ms, or s


def test_the_quality_is_that_of_the_kind_of_the_labels() -> None:
    answers = answers_of_a_system(100.0)
    learner = answers["status"]["learner"]
    learner |= {"auc_recent": 0.75, "mean_absolute_error_recent": 1.5, "auc_frozen": None}
    tiles = shown_by_the_page(answers)["tiles"]
    assert tiles["Progressive AUC, last 20,000 examples"][0] == "0.750"
    learner |= {"measure": "mean_absolute_error", "mean_absolute_error_live": 2.5}
    learner |= {"mean_absolute_error_frozen": 3.25, "compared": 7}
    of_numbers = "Progressive mean absolute error, last 20,000 examples"
    live, _, _, under, _ = shown_by_the_page(answers)["tiles"][of_numbers]
    assert live == "1.500"
    assert under.endswith("live 2.500, frozen 3.250 over 7 examples")
    learner |= {"measure": "mean_reciprocal_rank", "mean_reciprocal_rank_recent": 0.625}
    learner |= {"random_reciprocal_rank": 0.4}
    shown = shown_by_the_page(answers)["tiles"]
    assert shown["Progressive mean reciprocal rank, last 20,000 examples"][0] == "0.625"


def test_alerts_are_shown_by_kind_with_the_newest_message() -> None:
    answers = answers_of_a_system(1e-6)
    shown = dict(shown_by_the_page(answers)["alerts"])
    times = answers["status"]["learner"]["alerts"]["by_kind"]["guard_tripped"]
    assert shown["learner: guard tripped"].startswith(
        f"{times} since it started; last reported at "
    )
    assert "is beyond 1e-06" in shown["learner: guard tripped"]


def test_errors_that_parts_post_are_shown() -> None:
    answers = answers_of_a_system(100.0)
    (replica,) = [part for part, status in answers["status"].items() if "model" in status]
    answers["status"][replica]["model"]["error"] = "no answer in 5 s"
    answers["status"][replica]["store_error"] = "connection refused"
    answers["status"]["learner"]["health"] = {"checkpoints": "no space left"}
    alerts = dict(shown_by_the_page(answers)["alerts"])
    assert alerts[f"{replica}: learner"] == "no answer in 5 s"
    assert alerts[f"{replica}: online store"] == "connection refused"
    assert alerts["learner: checkpoints"] == "no space left"


# The values that the page reads: their path in a status, and their type.
SHAPES: Mapping[tuple[str, ...], type] = {
    ("health",): dict, ("alerts",): dict, ("alerts", "by_kind"): dict, ("alerts", "newest"): list,
    ("quarantined",): list, ("model",): dict, ("freshness", "buckets"): list,
    ("latency", "buckets"): list,
}  # fmt: skip


def test_parts_post_the_values_that_the_page_reads() -> None:
    seen = set()
    for figures in answers_of_a_system(1e-6)["status"].values():
        for path, kind in SHAPES.items():
            value: Any = figures
            for name in path:
                value = value.get(name, {} if name != path[-1] else None)
            if value is not None:
                assert isinstance(value, kind), path
                seen.add(path)
    assert seen == set(SHAPES)


def test_every_posted_number_is_a_metric_with_a_type_and_a_help_text() -> None:
    text = expose(answers_of_a_system(1e-6)["status"]).decode()
    assert "# TYPE freshrank_part_lag_total gauge" in text
    assert [line for line in text.splitlines() if line.endswith(" untyped")] == []
