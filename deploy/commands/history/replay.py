"""`freshrank replay`: read a user's data, play it with a progress bar, print what was learned."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from freshrank.actors.errors import ConfigError
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.records import History, read_history
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import check_summary
from freshrank.deploy.wiring.replay import replay
from freshrank.feature_actors.labels.definitions import Joined, Labelled

_OF_CLASSES = ("auc", "calibration_error")
_OF_LABELS = ("average_precision", "precision_at_100", "precision_at_1000", "calibration_error")


def _quality(metrics: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """How well the replay learned; the loss by its own name (``log_loss``).

    The AUC (of numbers the mean absolute error) and the loss are of all scored examples, those that
    were refused or held back included.
    """
    loss, measure = metrics["objective"], metrics["measure"]
    of_labels, of_classes = measure == "auc", measure == "accuracy"
    names = (
        "examples", "examples_learned_later", "examples_quarantined", "examples_held_back",
        *(("base_rate",) if of_labels else ()),
        measure, loss,
        *(_OF_LABELS if of_labels else _OF_CLASSES if of_classes else ("coverage",)),
        "compared",
    )  # fmt: skip
    compared = (f"{measure}_live", f"{measure}_frozen", f"{loss}_live", f"{loss}_frozen")
    refused = metrics["examples_refused"]
    assert isinstance(refused, dict)
    return {
        **{str(name): metrics[str(name)] for name in (*names, *compared)},
        "calibration": metrics["calibration"],
        **({"classes": metrics["classes"]} if of_classes else {}),
        **{f"refused_by_{reason}": examples for reason, examples in refused.items() if examples},
    }


def run_replay(
    file: Path,
    data: Path,
    *,
    settings: Settings,
    speed_up: float | None,
    json_file: Path | None,
) -> None:
    """Run the command. Raises ConfigError for a file, data or records that cannot be used.

    Also for a label that is joined with impressions: a history has none, so nothing would be
    learned.
    """
    console = Console()
    check_summary(json_file)
    if data.suffix == ".py" and file.suffix != ".py":
        raise ConfigError(
            str(file), "it is no Python file", f"Give the pipeline's first: {data} {file}."
        )
    pipeline_file = PipelineFile.read(file)
    pipeline, module = pipeline_file.load(), pipeline_file.load_module()
    if pipeline.joined:
        raise ConfigError(
            f"{file}: Pipeline({pipeline.name!r}).label",
            "Joined learns from impressions, and a replay has events only: it would learn nothing",
            "Replay a file whose label is Labelled(...).",
        )
    console.print(pipeline.describe(), markup=False, highlight=False)
    with console.status(f"reading {data}"):
        history = read_history(module, str(file), data, [one.topic for one in pipeline.streams])
    _warn_of_history(pipeline, history)
    summary = _play(pipeline, history, settings, speed_up, console)
    report = getattr(module, "report", None)
    if report is not None:
        with console.status("computing what to compare with"):
            summary |= report(data)
    _print(console, summary)
    if json_file is not None:
        json_file.write_text(f"{json.dumps(summary, indent=2)}\n", encoding="utf-8")


def _warn(what: str) -> None:
    print(f"warning: {what}", file=sys.stderr)


def _warn_of_history(pipeline: Pipeline, history: History) -> None:
    """Tell of a stream without records, and of records that are not in order."""
    without = [one.topic for one in pipeline.streams if not len(history.places_of(one.topic))]
    if without:
        _warn(
            f"there is no record of {', '.join(map(repr, without))}, whose features stay "
            "empty (yield (key, value, time, topic) for those of another stream than the first)"
        )
    back = int(np.count_nonzero(np.diff(history.times_ms) < 0))
    if back:
        _warn(
            f"{back} of {len(history)} records are older than the one before them, so that what "
            "comes later is learned first: yield the oldest first"
        )


def _warn_of_unknown(label: Joined | Labelled) -> None:
    """Tell of predictions that a model makes before it can know a label."""
    if isinstance(label, Labelled) and label.known_after:
        _warn(
            f"the predictions of the first {label.known_after} are of a model that knew no label "
            "yet, and count in these figures: log loss, AUC and calibration are worse for it"
        )


def _warn_of_unused(metrics: Mapping[str, JsonValue], records: int) -> None:
    """Tell of records that are no events, and of events that are no examples."""
    if metrics["dead"]:
        reasons = metrics["dead_reasons"]
        assert isinstance(reasons, list)
        listed = "\n  ".join(map(str, reasons))
        _warn(f"{metrics['dead']} of {records} records are no events:\n  {listed}")
    if not metrics["examples"]:
        _warn(
            "no event is an example, so that nothing was learned "
            f"({metrics['examples_of_no_target']} have no value of the label's target, "
            f"{metrics['examples_of_no_class']} none of its classes)"
        )


def _play(
    pipeline: Pipeline,
    history: History,
    settings: Settings,
    speed_up: float | None,
    console: Console,
) -> dict[str, JsonValue]:
    """Play all records with a progress bar; returns the summary."""
    bar = Progress(
        TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip
    began = time.monotonic()
    with bar:
        task = bar.add_task("", total=len(history))
        metrics = asyncio.run(
            replay(
                pipeline,
                history,
                settings=settings,
                speed_up=speed_up,
                advanced=lambda count: bar.update(task, completed=count),
            )
        )
    _warn_of_unused(metrics, len(history))
    _warn_of_unknown(pipeline.label)
    return {
        "records": len(history),
        "seconds": round(time.monotonic() - began, 2),
        "dead": metrics["dead"],
        "late": metrics["late"],
        "negatives_left_out": metrics["negatives_left_out"],
        "examples_of_no_target": metrics["examples_of_no_target"],
        "examples_of_no_class": metrics["examples_of_no_class"],
        "examples_of_bad_weight": metrics["examples_of_bad_weight"],
        "waiting_for_label": metrics["pending"],
        "versions": metrics["steps"],
        **_quality(metrics),
    }


def _print(console: Console, summary: Mapping[str, JsonValue]) -> None:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    calibration, classes = summary["calibration"], summary.get("classes")
    for name, value in summary.items():
        if value is calibration or value is classes:
            continue
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(name, shown)
    console.print(table)
    if isinstance(classes, list):
        console.print(_class_table(classes))
    if isinstance(calibration, list) and calibration:
        of = "positives" if classes is None else "right ones"
        console.print(_calibration_table(calibration, of))


def _class_table(classes: Sequence[JsonValue]) -> Table:
    """How well each class was predicted, over all examples."""
    columns = ("name", "support", "predicted", "precision", "recall", "f1", "auc")
    table = Table(title="classes")
    for column in columns:
        table.add_column(column, justify="left" if column == "name" else "right")
    for one in classes:
        assert isinstance(one, dict)
        cells = [one[column] for column in columns]
        table.add_row(*(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells))
    return table


def _calibration_table(bins: Sequence[JsonValue], of: str) -> Table:
    """Tenths of the examples by predicted probability, and what came of them.

    Of classes by that of the likeliest, which was right or not; `of` names what came.
    """
    table = Table(title="calibration: tenths of the examples by prediction")
    for column in ("examples", "mean prediction", f"share of {of}"):
        table.add_column(column, justify="right")
    for one in bins:
        assert isinstance(one, dict)
        table.add_row(str(one["examples"]), f"{one['predicted']:.4f}", f"{one['observed']:.4f}")
    return table
