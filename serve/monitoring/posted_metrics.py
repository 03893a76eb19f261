"""The numbers in the statuses of all parts, in Prometheus' text format.

A number of a status becomes ``freshrank_part_<path>{part=...}``, with the keys that lead to it
joined by underscores. `POSTED` says what each is. The client library cannot write these names with
their types, for it ends every counter's name in ``_total``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from freshrank.actors.protocols import JsonValue, Status

Described: TypeAlias = tuple[str, str]
"""A metric's type and its help text."""

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def _counters(**texts: str) -> dict[str, Described]:
    return {name: ("counter", text) for name, text in texts.items()}


def _gauges(**texts: str) -> dict[str, Described]:
    return {name: ("gauge", text) for name, text in texts.items()}


_OF_SHARDS = _counters(
    events="Events applied to the features",
    duplicates="Events that were dropped as duplicates",
    late="Events that came too late for every window, written to the topic .late",
    dead="Records that could not be used, written to the topic .dead",
    dead_time_unit="Events rejected because their time is in another unit than the declared one",
    dead_time_zone="Events rejected because their time names no zone and none is declared",
    dead_misplaced="Events rejected because their entity belongs to another partition",
    dead_misplaced_crc32="Of these, events that lie where CRC-32 puts them",
    dead_misplaced_murmur2="Of these, events that lie where murmur2 puts them",
    dead_impression_misplaced="Impressions whose entity belongs to another partition",
    dead_other_layout="Impressions that were served with inputs of a layout that is not known",
    dead_time_ahead="Events rejected because their time is too far ahead of the log",
    dead_shown_late="Impressions that reached the log over five minutes after they were served",
    stamp_ahead="Events whose producer stamped the record too far ahead of the log's clock",
    stamp_behind="Events whose producer stamped the record more than 10 s behind the log's clock",
    shown_ahead="Impressions dated by the replica's clock more than 1 s later than the log",
    shown_behind="Impressions dated by the replica's clock more than 10 s before the log",
    label_events_read="Events that make items positive, since the start of the process",
    label_early="Label events that reached the log up to 10 s before their item was shown",
    label_late="Label events that reached the log after Joined.within had passed",
    label_not_shown="Label events of items that were not shown to their user",
    label_alone="Items chosen in a list without another one: nothing to learn by a listwise label",
    without_part="Events without a part of an entity's id: they change none of its rows",
    part_too_long="Events with a part of such an id that is too long",
    clock_ahead="Events dated later than the log, which count as of the log's time",
    clock_behind="Events dated more than 10 s before they reached the log",
    copied="Records copied from topics whose records may lie in any partition",
    copied_again="Copies of such records that were made before, or for another state: left out",
    table_rows="Records that replaced the row of an entity in a table",
    forgotten="Tombstones in streams, of entities whose rows were deleted",
    forgotten_unknown="Tombstones in streams, of entities that the stream had no row of",
    tombstones="Records that deleted the row of an entity in a table",
    tombstones_unknown="Records that were to delete a row that the table did not have",
    table_rows_dropped="Rows dropped because their table held too many entities, the oldest first",
    dead_table_rows="Records of tables that could not be used",
    dead_no_key="Rows of tables, and tombstones, without a key",
    skipped="Offsets without a record: compaction, and the markers of transactions",
    lost_to_retention="Records that were deleted before the shard read them",
    deleted_before_start="Records of streams that were deleted before the state began",
    impressions="Impressions joined with events",
    impressions_carried="Impressions of a former input layout, joined for what they carry",
    impressions_outage="Impressions not learned from: the online store did not answer for them",
    impressions_repeated="Impressions left out because their requests were sent again",
    examples_of_bad_weight="Events whose Labelled.weight is no weight: not learned from",
    examples_of_no_target="Events without a value of Labelled.target: not learned from",
    examples_of_no_class="Events whose target has none of Labelled.classes: not learned from",
    negatives_left_out="Negatives that are not learned from: Joined.negatives_kept",
    positives="Examples with a positive label",
    evicted="Entities evicted because their table was full",
    ids_forgotten="Event ids forgotten before dedup_within had passed, because there were too many",
    rows_written="Rows written to the online store",
    rows_restored="Rows that were missing in the online store and were written again",
    spans_pushed="Offset ranges of examples that the learner took",
    spans_stale="Offset ranges whose gradient was refused as stale and computed again",
) | _gauges(
    starting="1 while the shard reads its snapshots",
    events_per_s="Events applied per second, over the last 5 s",
    lag_total="Records in the topics that the shard has not read",
    fetch_age_s="Seconds since the broker last answered a fetch",
    catching_up_done="Records read of those that lay in the topics at the start",
    catching_up_of="Records that lay in the topics at the start",
    bytes_per_entity="Bytes of the state of one entity",
    entities="Entities with state",
    bytes="Bytes of memory that the state takes",
    outbox="Examples kept until a checkpoint of the learner covers them",
    unsent="Examples not yet pushed to the learner",
    pending="Shown items, or events, that wait for their label",
    label_events="Events kept for impressions that are still to come",
    rows_waiting="Changed rows not yet written to the online store",
    snapshot_age_s="Seconds since the last snapshot",
    snapshot_bytes="Bytes of the last snapshots",
)

_OF_THE_LEARNER = _counters(
    steps="Optimiser steps since the learner started",
    refused_out_of_turn="Gradients refused because their offset range was not the next",
    refused_stale="Gradients refused because their weights were too old",
    guard_trips="Refusals and rollbacks by the guard",
    examples_quarantined="Examples that the guard refused: they are never learned",
    examples_refused_gradient="Examples refused for a gradient that is not finite or explodes",
    examples_refused_step="Examples refused for a step that gave weights beyond their bound",
    examples_refused_loss="Examples refused because their loss was worse, and not after them",
    examples_refused_partition="Examples refused because their partition alone is worse",
    examples_refused_challenger="Examples refused because a challenger was no better",
    examples_refused_inputs="Examples held back when the inputs of the model changed",
    judged="Examples behind the progressive AUC and loss, by their weights",
    compared="Examples scored by the weights and by the frozen reference",
) | _gauges(
    rows="Rows of the embedding table",
    examples_learned_later="Examples that were held back first and are in the weights",
    examples_held_back="Examples that the guard holds back until it can judge them",
    pending_examples="Examples that the next step takes",
    newest_event_ms="The newest event time in the weights, in milliseconds since the Unix epoch",
    steps_per_s="Optimiser steps per second, over the last 10 s",
    examples_per_s="Examples learned per second, over the last 10 s",
    checkpoint_age_s="Seconds since the last checkpoint",
    input_drift_greatest="Population stability index of the input that changed most",
)

_OF_REPLICAS = _counters(
    requests="Requests to score that were answered",
    errors="Answers with a status of 500 or more",
    refused="Answers with a status of 400 to 499",
    store_failures="Failed reads of the online store",
    impressions_lost="Impressions that the broker did not take",
    model_mismatches="Times that the weights differed from the learner's and were fetched again",
    model_failures="Failed long polls of the learner",
    recommendations_requests="Requests for recommendations that were answered",
    catalogue_items_refused="Items that the catalogue had no room for",
    catalogue_records_rejected="Records of the catalogue that could not be used",
) | _gauges(
    model_age_ms="Milliseconds since the weights were published",
    model_silence_ms="Milliseconds since the learner last answered",
    model_holding_back="1 while weights of a new epoch are held back, which contain less",
    model_differs="1 while the weights differ from the learner's",
    recommendations_latency_count="Requests behind the quantiles of recommendations_latency",
    recommendations_latency_p50_ms="Median milliseconds to recommend items",
    recommendations_latency_p99_ms="99th percentile of milliseconds to recommend items",
    catalogue_items="Items in the catalogue that recommendations are chosen from",
    catalogue_lag_records="Records of the catalogue's topic that the replica has not read",
    catalogue_pass_s="Seconds that the last reading of all items' rows took",
    catalogue_rebuild_s="Seconds that the last making of the candidates' indexes took",
)

_OF_THE_AUTOSCALER = _gauges(
    replicas_wanted="Replicas that were decided last",
    replicas_running="Replicas that take requests",
    replicas_needed="Replicas that the load asks for, which may be more than there may be",
    replicas_least="Replicas that there are at least",
    replicas_most="Replicas that there are at most",
    load_ongoing="Mean number of requests that all replicas work on at a time",
    load_p99_ms="99th percentile of the milliseconds to answer, of the slowest replica",
)

_OF_SEVERAL = _counters(
    examples="Labelled examples: made by a shard, or learned by the learner",
    alerts_held_back="Alerts that were counted but not written, to bound their number",
    alerts_lost="Alerts that the broker did not take",
) | _gauges(
    process_id="Id of the process of the part",
    freshness_count="Events behind the quantiles of freshness",
    freshness_p50_ms="Median milliseconds from an event to features or weights that contain it",
    freshness_p99_ms="99th percentile of milliseconds from an event to features or weights",
    latency_count="Requests behind the quantiles of latency",
    latency_p50_ms="Median milliseconds to score a request",
    latency_p99_ms="99th percentile of milliseconds to score a request",
)

POSTED: Mapping[str, Described] = (
    _OF_SHARDS | _OF_THE_LEARNER | _OF_REPLICAS | _OF_THE_AUTOSCALER | _OF_SEVERAL
)
"""By path: the metrics whose names do not depend on the pipeline."""

# What the examples of a quality metric are, by the end of its name.
_EXAMPLES = {
    "": "all examples",
    "_live": "the examples since the reference was frozen",
    "_frozen": "the same examples, by the frozen reference",
    "_recent": "the newest 20,000 examples",
    "_recent_frozen": "the newest 20,000 examples, by the frozen reference",
}
_MEASURES = {
    "auc": "AUC",
    "accuracy": "share of examples whose likeliest class is their own",
    "mean_absolute_error": "mean absolute error",
    "mean_reciprocal_rank": "mean of 1 / rank of the chosen item",
    "random_loss": "loss of a slate in random order",
    "random_reciprocal_rank": "mean of 1 / rank of the chosen item in random order",
    "coverage": "share of labels that are at most their prediction",
    "base_rate": "share of positives",
    "average_precision": "average precision",
    "precision_at_100": "share of positives among the 100 predicted highest",
    "precision_at_1000": "share of positives among the 1,000 predicted highest",
    "calibration_error": "distance of predicted and observed probability in tenths",
}
_QUALITY = re.compile(r"(?P<measure>.+?)(?P<examples>_recent_frozen|_recent|_frozen|_live|)")
_UNKNOWN: Described = ("untyped", "A number in the status of a part")


def expose(statuses: Mapping[str, Status]) -> bytes:
    """The text of the statuses, by part.

    >>> print(expose({"shard-0": {"lag_total": 3}}).decode(), end="")
    # HELP freshrank_part_lag_total Records in the topics that the shard has not read
    # TYPE freshrank_part_lag_total gauge
    freshrank_part_lag_total{part="shard-0"} 3.0
    """
    families: dict[str, list[str]] = {}
    for part, status in statuses.items():
        label = part.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for path, value in _numbers(status, ()):
            # Beneath a prefix of their own: no metric of the client library has such a name.
            name = f"freshrank_part_{path}"
            if name not in families:
                kind, text = describe(path, str(status.get("objective", "")))
                families[name] = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            families[name].append(f'{name}{{part="{label}"}} {value}')
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


def describe(path: str, objective: str = "") -> Described:
    """Type and help text of the number at `path`; `objective` is the name of the learner's loss.

    >>> describe("hinge_recent", "hinge")
    ('gauge', 'Progressive hinge over the newest 20,000 examples')
    """
    if path in POSTED:
        return POSTED[path]
    kind = path.removeprefix("alerts_by_kind_")
    if kind != path:
        return "counter", f"Alerts of the kind {kind} since the part started"
    quality = _QUALITY.fullmatch(path)
    measures = {**_MEASURES, objective: objective}
    if quality is not None and quality["measure"] in measures:
        measure = measures[quality["measure"]]
        return "gauge", f"Progressive {measure} over {_EXAMPLES[quality['examples']]}"
    return _UNKNOWN


def _numbers(status: Status, above: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Paths and values of all numbers of a status; lists are left to the page."""
    for key, value in status.items():
        path = (*above, _NOT_IN_A_NAME.sub("_", key))
        if isinstance(value, bool | int | float):
            yield "_".join(path), float(value)
        elif isinstance(value, Mapping) and not _by_id(value):
            yield from _numbers(value, path)


def _by_id(value: Mapping[str, JsonValue]) -> bool:
    """Whether the keys are ids (partitions): each would make a metric that never ends."""
    return any(not key[:1].isalpha() for key in value)
