"""Numbers of statuses are metrics with a type and a help text, as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from freshrank.actors.protocols import Status
from freshrank.serve.monitoring.posted_metrics import POSTED, describe, expose


def read(statuses: dict[str, Status]) -> dict[str, Metric]:
    """The metrics as a client of /metrics reads them, by name without the prefix."""
    families = text_string_to_metric_families(expose(statuses).decode())
    return {one.name.removeprefix("freshrank_part_"): one for one in families}


def test_numbers_of_all_parts_are_read_by_name_and_part() -> None:
    found = read({"shard-0": {"lag_total": 3, "starting": True}, "shard-1": {"lag_total": 0.5}})
    assert {one.labels["part"]: one.value for one in found["lag_total"].samples} == {
        "shard-0": 3.0,
        "shard-1": 0.5,
    }
    assert [one.value for one in found["starting"].samples] == [1.0]


def test_each_has_its_type_and_text() -> None:
    found = read({"shard-0": {"events": 3, "lag_total": 1, "alerts": {"by_kind": {"late": 2}}}})
    assert (found["events"].type, found["lag_total"].type) == ("counter", "gauge")
    assert found["lag_total"].documentation == POSTED["lag_total"][1]
    assert found["alerts_by_kind_late"].type == "counter"
    assert "late" in found["alerts_by_kind_late"].documentation


def test_text_none_lists_and_what_is_kept_by_id_are_left_out() -> None:
    status: Status = {
        "version": "1.2", "auc": None, "waiting": [1, 2], "partitions": {"0": {"lag": 3}},
    }  # fmt: skip
    assert expose({"learner": status}) == b""


def test_a_part_of_any_name_is_one_label() -> None:
    (sample,) = read({'a "b"\\c\nd': {"rows": 1}})["rows"].samples
    assert sample.labels == {"part": 'a "b"\\c\nd'}


@pytest.mark.parametrize(
    ("path", "objective", "text"),
    [
        (
            "auc_live",
            "log_loss",
            "Progressive AUC over the examples since the reference was frozen",
        ),
        ("log_loss", "log_loss", "Progressive log_loss over all examples"),
        (
            "mean_absolute_error_recent",
            "squared_loss",
            "Progressive mean absolute error over the newest 20,000 examples",
        ),
        (
            "my_own_loss_recent_frozen",
            "my_own_loss",
            "Progressive my_own_loss over the newest 20,000 examples, by the frozen reference",
        ),
    ],
)
def test_the_learners_quality_is_described_for_any_loss(
    path: str, objective: str, text: str
) -> None:
    assert describe(path, objective) == ("gauge", text)


def test_a_number_that_is_not_known_is_exposed_without_a_type() -> None:
    assert read({"shard-0": {"of_another_version": 1}})["of_another_version"].type == "unknown"


@pytest.mark.parametrize("path", POSTED)
def test_a_text_says_something_in_one_line(path: str) -> None:
    kind, text = POSTED[path]
    assert kind in ("counter", "gauge")
    assert len(text) > 15 and "\n" not in text and not text.endswith(".")
