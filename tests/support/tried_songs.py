"""A pipeline with an experiment, and the log of some users of its arms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.kernels.hashing import hash_texts
from freshrank.deploy.pipelines.pipeline import Pipeline

PIPELINE = """
import msgspec
from freshrank import *

class Play(msgspec.Struct):
    id: str
    who: str
    song: str
    kind: str
    ts: int

who = Entity("who", key="who")
plays = Stream("plays", id="id", time="ts", key=who, schema=Play)

class Recent(FeatureView):
    entity, source = who, plays
    count = Count(windows=["1h"])

pipeline = Pipeline(
    "songs", stream=plays, features=[Recent], context=["song"], model=LogisticRegression(),
    label=Joined(positive=col.kind == "like", on="song", within="1m"),
    experiments=[Experiment("explore", arms=[
        Arm("control", share=0.5), Arm("epsilon", share=0.5, explore=EpsilonGreedy(0.2))])],
)
"""


class Record(NamedTuple):
    """What is to be written."""

    topic: str
    key: bytes
    value: bytes
    at_ms: int


def records(pipeline: Pipeline, begin_ms: int, users: int = 400) -> Iterator[Record]:
    """A list of two songs for each user, a millisecond apart; two in five like the first."""
    layout, random = pipeline.encoder.layout, np.random.default_rng(1)
    items = ["a", "b"]
    for number in range(users):
        user, at_ms = f"u{number}", begin_ms + number
        impression = Impression(
            request_id=f"r{number}",
            entity=user,
            at_ms=at_ms,
            version="1.1",
            layout=pipeline.encoder.fingerprint,
            join_keys=hash_texts(items).tobytes(),
            dense=np.zeros((2, len(layout.dense)), np.float32).tobytes(),
            ids=np.zeros((2, layout.id_width), np.int64).tobytes(),
            scores=np.full(2, 0.25, np.float32).tobytes(),
            arms={"explore": "control" if number % 2 else "epsilon"},
        )
        yield Record(
            pipeline.impressions_topic, user.encode(), encode_impression(impression), at_ms
        )
        if random.random() < 0.4:
            like = {"id": f"l{number}", "who": user, "song": "a", "kind": "like", "ts": at_ms}
            yield Record(pipeline.stream.topic, user.encode(), msgspec.json.encode(like), at_ms)
