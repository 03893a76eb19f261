"""The JD clickstream in event time: do weights that keep learning stay ahead of frozen ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files

from rich.console import Console

from freshrank.actors.protocols import JsonValue
from freshrank.benchmarks.registry import BenchOptions, needed_data
from freshrank.benchmarks.report import Better, Figure
from freshrank.deploy.history.records import read_history
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.wiring.replay import replay


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Replay `bo_action.parquet` (`--data`) once: a replay gives the same figures each time."""
    data = needed_data(options, "jd", "the JD clickstream (bo_action.parquet)")
    text = files("freshrank.examples").joinpath("jd.py").read_text(encoding="utf-8")
    file = PipelineFile("examples/jd.py", text)
    pipeline, module = file.load(), file.load_module()
    with console.status(f"reading {data}"):
        history = read_history(module, file.path, data, [pipeline.stream.topic])
    with console.status(f"replaying {len(history)} actions"):
        learned = asyncio.run(replay(pipeline, history))
    with console.status("replaying without the features"):
        compared = module.report(data)
    return figures(learned, compared)


def figures(learned: Mapping[str, JsonValue], compared: Mapping[str, float]) -> list[Figure]:
    """Return the figures; live has to be ahead of the frozen copy and of the base rate."""
    found = {name: float(str(learned[name])) for name in _LEARNED} | dict(compared)
    log_loss_reach = min(found["log_loss_frozen"], found["log_loss_base_rate"])
    return [
        Figure("auc_live", found["auc_live"], "1", "higher", found["auc_frozen"]),
        Figure("auc_frozen", found["auc_frozen"], "1", "higher"),
        Figure("log_loss_live", found["log_loss_live"], "nat", "lower", log_loss_reach),
        Figure("log_loss_frozen", found["log_loss_frozen"], "nat", "lower"),
        *(
            Figure(name, value, "nat" if "loss" in name else "1", _better(name))
            for name, value in compared.items()
        ),
    ]


_LEARNED = ("auc_live", "auc_frozen", "log_loss_live", "log_loss_frozen")


def _better(name: str) -> Better:
    return "lower" if "loss" in name else "higher"
