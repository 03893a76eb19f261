"""What holds for the fields of structs in events, in every format, against naive decoding."""

from __future__ import annotations

import json
import math
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank import Avro, Count, Entity, FeatureView, LastK, Stream, Sum, col
from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.hashing import hash_text
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.formats import Json, RecordFormat
from freshrank.feature_actors.views.table_plan import TablePlan

STAMP_MS = 1_700_000_000_000


class Device(msgspec.Struct, rename="camel"):
    os_name: str
    price: float | None = None
    cores: int = 1


class Play(msgspec.Struct):
    play_id: str
    listener: str
    at: int
    device: Device
    watch: Device | None = None


DEVICE = {
    "type": "record",
    "name": "Device",
    "fields": [
        {"name": "osName", "type": "string"},
        {"name": "price", "type": ["null", "double"]},
        # Wrong types too, so that they can be written.
        {"name": "cores", "type": ["long", "string", "boolean"]},
    ],
}
TYPES = {
    "play_id": "string",
    "listener": "string",
    "at": "long",
    "device": DEVICE,
    "watch": ["null", "Device"],
}
SCHEMA = {
    "type": "record",
    "name": "Play",
    "fields": [{"name": name, "type": kind} for name, kind in TYPES.items()],
}
PARSED = fastavro.parse_schema(SCHEMA)

Document = dict[str, Any]


def in_json(document: Document) -> bytes:
    return json.dumps(document).encode()


def in_avro(document: Document) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, PARSED, document)
    return out.getvalue()


listener = Entity("listener", key="listener")
FORMATS: dict[str, tuple[RecordFormat, Any]] = {
    "json": (Json(), in_json),
    "avro": (Avro(SCHEMA), in_avro),
}
each_format = pytest.mark.parametrize("form", FORMATS)


def stream_of(form: str) -> Stream:
    return Stream(
        "plays", id="play_id", time="at", key=listener, schema=Play, format=FORMATS[form][0]
    )


devices = st.fixed_dictionaries(
    {
        "osName": st.sampled_from(["ios", "android", ""]),
        "price": st.none() | st.integers(-9, 9).map(float),
        "cores": st.integers(-(2**63), 2**63 - 1) | st.integers(1, 8),
    }
)
plays = st.fixed_dictionaries(
    {
        "play_id": st.text("abc", min_size=1),
        "listener": st.just("ann"),
        "at": st.just(STAMP_MS),
        "device": devices,
        "watch": st.none() | devices,
    }
)


@each_format
@given(documents=st.lists(plays, max_size=8))
def test_conditions_and_aggregates_of_a_path_mean_what_they_mean_of_the_document(
    form: str, documents: list[Document]
) -> None:
    stream, write = stream_of(form), FORMATS[form][1]
    body = {
        "entity": listener,
        "source": stream,
        "ios": Count(where=col.device.os_name == "ios", windows=["1h"]),
        "unwatched": Count(where=col.watch.os_name.is_null(), windows=["1h"]),
        "many": Count(where=col.watch.cores > 4, windows=["1h"]),
        "spent": Sum("watch.price", where=~(col.device.cores == 1), windows=["1h"]),
        "recent": LastK("watch.os_name", k=3),
    }
    plan = TablePlan([type("V", (FeatureView,), body)])
    batch = consecutive_records("plays", 0, [write(one) for one in documents], STAMP_MS)
    columns, rejected = Codec(stream).decode(batch)
    assert rejected == []
    table = EntityTable(plan, 10)
    table.apply(columns, before=False)
    row = table.row("ann")
    rows = plan.empty_row if row is None else row
    block = plan.read(rows.reshape(1, -1), np.array([STAMP_MS]))

    watches = [one["watch"] for one in documents]
    prices = [
        one["watch"]["price"]
        for one in documents
        if one["watch"] and one["watch"]["price"] is not None and one["device"]["cores"] != 1
    ]
    assert block.values[0].tolist() == [
        sum(one["device"]["osName"] == "ios" for one in documents),
        sum(watch is None for watch in watches),
        sum(watch is not None and watch["cores"] > 4 for watch in watches),
        math.fsum(prices),
    ]
    names = [hash_text(watch["osName"]) for watch in reversed(watches) if watch]
    assert [one for one in block.ids[0].tolist() if one] == names[:3]


WRONG: list[tuple[Document, str]] = [
    ({"cores": 2**63}, r"\$\.device\.cores"),
    ({"cores": "two"}, r"\$\.device\.cores"),
    ({"price": math.nan}, "NaN and Infinity are not numbers|malformed"),
]
GOOD: Document = {"osName": "ios", "price": 1.0, "cores": 2}


def play(device: Document) -> Document:
    return {"play_id": "p", "listener": "ann", "at": STAMP_MS, "device": device, "watch": None}


@each_format
@pytest.mark.parametrize(("changes", "reason"), WRONG)
def test_the_rules_of_fields_hold_in_a_struct_too(
    form: str, changes: Document, reason: str
) -> None:
    stream, write = stream_of(form), FORMATS[form][1]
    if form == "avro" and changes.get("cores") == 2**63:
        return  # Avro cannot hold it
    values = [write(play(GOOD)), write(play(GOOD | changes))]
    columns, (rejected,) = Codec(stream).decode(consecutive_records("plays", 0, values, STAMP_MS))
    assert (len(columns), rejected.offset) == (1, 1)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(rejected.reason)
    with pytest.raises(BadRecord, match=reason):
        Codec(stream).record(in_json(play(GOOD | changes)), STAMP_MS)


@each_format
@given(document=plays)
def test_a_posted_event_keeps_its_structs(form: str, document: Document) -> None:
    codec = Codec(stream_of(form))
    _, value = codec.record(in_json(document), STAMP_MS)
    assert msgspec.json.decode(codec.json(value)) == document
    assert codec.decode_one(value) == msgspec.convert(document, codec.stream.event_type)
