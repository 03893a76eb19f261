"""What people get wrong in a pipeline's file, each as a change of one that is right."""

from __future__ import annotations

from dataclasses import dataclass

RIGHT = """\
from typing import Literal

import msgspec

from freshrank import (
    SGD, Adagrad, Count, DecayedCount, DeepFM, Entity, FeatureView, Joined, Labelled, LastK,
    LogisticRegression, Mean, Pipeline, Stream, Sum, TimeSince, col,
)


class Play(msgspec.Struct):
    play_id: str
    listener: str
    song: str
    genre: str
    kind: Literal["start", "finish", "like"]
    seconds: float
    at: int
    device: dict[str, str] = {}
    rating: int | None = None


listener = Entity("listener", key="listener")
plays = Stream("plays", id="play_id", time="at", key=listener, schema=Play)


class Listening(FeatureView):
    entity, source = listener, plays
    finished = Count(where=col.kind == "finish", windows=["10m", "1d"])
    listened = Sum("seconds", windows=["1h"])
    taste = DecayedCount(by="genre", half_life="2d", top=8)
    recent = LastK("song", k=10)


pipeline = Pipeline(
    "songs",
    stream=plays,
    features=[Listening],
    context=["song", "genre"],
    label=Joined(positive=col.kind == "like", on="song", within="30m"),
    model=LogisticRegression(),
    optimizer=Adagrad(0.1),
)
"""


@dataclass(frozen=True)
class Mistake:
    """`was` is replaced by `now`; the error names `place` and says `fix`."""

    was: str
    now: str
    place: str
    fix: str

    @property
    def text(self) -> str:
        """The whole file."""
        assert RIGHT.count(self.was) == 1, self.was
        return RIGHT.replace(self.was, self.now)


WINDOW = 'Write a whole number and one of ms, s, m, h, d, as in "30s" or "7d".'
MISTAKES = {
    "an unknown field in where": Mistake(
        'col.kind == "finish"', 'col.knd == "finish"',
        "Listening.finished.where (knd == 'finish')", "Did you mean 'kind'?",
    ),
    "an unknown field in by": Mistake(
        'by="genre"', 'by="gender"', "Listening.taste", "Did you mean 'genre'?"
    ),
    "an unknown field to sum": Mistake(
        'Sum("seconds"', 'Sum("minutes"', "Listening.listened", "It has: play_id, listener, song"
    ),
    "an unknown field in on": Mistake('on="song"', 'on="sing"', "Joined.on", "Did you mean 'song'"),
    "an unknown id": Mistake('id="play_id"', 'id="id"', "Stream('plays').id", "Did you mean"),
    "an unknown time": Mistake('time="at"', 'time="ts"', "Stream('plays').time", "It has: play_id"),
    "an unknown key": Mistake(
        'key="listener"', 'key="user"', "Stream('plays').key", "It has: play_id"
    ),
    "an unknown context field": Mistake(
        '["song", "genre"]', '["song", "gnre"]', "Pipeline('songs').context[1]", "Did you"
    ),
    "a field of a type that features cannot use": Mistake(
        'LastK("song"', 'LastK("device"', "Listening.recent", "Use a field of str, int, float"
    ),
    "a sum of text": Mistake(
        'Sum("seconds"', 'Sum("song"', "Listening.listened", "Name a field of int or float"
    ),
    "an id that may be missing": Mistake(
        'id="play_id"', 'id="rating"', "Stream('plays').id", "Make id, time and key mandatory."
    ),
    "a misspelt window": Mistake('"10m"', '"10min"', "Listening.finished.windows[0]", WINDOW),
    "a fractional window": Mistake('"1d"', '"1.5d"', "Listening.finished.windows[1]", WINDOW),
    "a window of no time": Mistake('"1d"', '"0d"', "Listening.finished.windows[1]", WINDOW),
    "a window that is a number": Mistake('"1d"', "86400", "Listening.finished.windows[1]", WINDOW),
    "a window longer than time": Mistake(
        '"1d"', '"9999999999999999d"', "Listening.finished.windows[1]", 'Take "36500d" or less.'
    ),
    "a field of a field in a condition": Mistake(
        'where=col.kind == "finish"', 'where=col.device.os == "ios"',
        "Listening.finished.where (device.os == 'ios')", "It has: play_id, listener, song",
    ),
    "a field of a field": Mistake(
        'LastK("song"', 'LastK("device.os"', "Listening.recent", "It has: play_id, listener, song"
    ),
    "a comparison with None": Mistake(
        'where=col.kind == "finish"', "where=col.rating == None",
        "col.rating == None", "None differs from every constant",
    ),
    "a comparison with a date": Mistake(
        'where=col.kind == "finish"', 'where=col.at > __import__("datetime").date(2026, 1, 1)',
        "col.at > datetime.date(2026, 1, 1)", "milliseconds since the Unix epoch",
    ),
    "the label among the inputs": Mistake(
        '"genre"],\n    label=Joined(positive=col.kind == "like", on="song", within="30m"),',
        '"kind"],\n    label=Labelled(positive=col.kind == "like"),',
        "Pipeline('songs').context[1]", "Leave it out",
    ),
    "windows that are one text": Mistake(
        'windows=["1h"]', 'windows="1h"', "Listening.listened.windows", 'Write a list: ["1h"].'
    ),
    "windows that are one number": Mistake(
        'windows=["1h"]', "windows=3600", "Listening.listened.windows", "Write a list"
    ),
    "no windows": Mistake(
        'windows=["1h"]', "windows=[]", "Listening.listened.windows", "Write at least one"
    ),
    "windows left out": Mistake(
        ', windows=["1h"]', "", "Listening.listened.windows", "Write at least one"
    ),
    "a window given twice": Mistake(
        '"1d"', '"600s"', "Listening.finished.windows[1]", "Drop one of them."
    ),
    "a window shorter than its hop": Mistake(
        '["1h"]', '["1h"], hop="2h"', "Listening.listened.windows[0]", "Take a hop that fits in it."
    ),
    "a hop that cuts too finely": Mistake(
        '["1h"]', '["1h"], hop="1s"', "Listening.listened.hop", "Take a longer hop"
    ),
    "a misspelt half-life": Mistake(
        'half_life="2d"', 'half_life="2 days"', "Listening.taste.half_life", WINDOW
    ),
    "too many entries": Mistake("k=10", "k=10_000", "Listening.recent.k", "Take 1 to 256."),
    "a number of entries in quotes": Mistake(
        "k=10", 'k="10"', "Listening.recent.k", "Write one of 1 to 256, as in k=10."
    ),
    "a condition that is a text": Mistake(
        'where=col.kind == "finish"', 'where="finish"', "Listening.finished.where", "Write e.g. col"
    ),
    "a condition with and": Mistake(
        'where=col.kind == "finish"', 'where=col.kind == "finish" and col.seconds > 1',
        "(kind == 'finish')", "Combine conditions with &, |, ~",
    ),
    "a number compared with a text": Mistake(
        'where=col.kind == "finish"', 'where=col.seconds == "long"',
        "Listening.finished.where (seconds == 'long')", "Compare with a constant of the field's",
    ),
    "comparisons without brackets": Mistake(
        'where=col.kind == "finish"', 'where=col.kind == "finish" & col.seconds > 1',
        "col.seconds", "Put brackets round each comparison, as in (col.price > 5) & ",
    ),
    "a number for a condition": Mistake(
        'where=col.kind == "finish"', 'where=col.seconds & (col.kind == "finish")',
        "col.seconds", "Put brackets round each comparison, as in (col.price > 5) & ",
    ),
    "a default that is none of its values": Mistake(
        "rating: int | None = None", 'mood: Literal["calm", "loud"] = "clam"',
        "Stream('plays').schema: the default of the field 'mood' is 'clam'", "mean 'calm'?",
    ),
    "a field that may be unset": Mistake(
        "seconds: float", "seconds: float | msgspec.UnsetType",
        "Stream('plays').schema: the field 'seconds' may be UNSET", "write `| None = None`",
    ),
    "a field that is unset by default": Mistake(
        "rating: int | None = None", "rating: int | msgspec.UnsetType = msgspec.UNSET",
        "Stream('plays').schema: the field 'rating' may be UNSET", "write `| None = None`",
    ),
    "a default of another type": Mistake(
        "rating: int | None = None", "rating: int = None",
        "Stream('plays').schema: the default of the field 'rating' is None", "write `| None =",
    ),
    "a field of a type that no record has": Mistake(
        "rating: int | None = None", "rating: complex | None = None",
        "Stream('plays').schema: the field 'rating' is of <class 'complex'>", "take str, int, ",
    ),
    "a key in capitals": Mistake(
        'key="listener"', 'key="LISTENER"', "no field 'LISTENER'", "Did you mean 'listener'?",
    ),
    "a value that the field never has": Mistake(
        'where=col.kind == "finish"', 'where=col.kind == "finished"',
        "Listening.finished.where (kind == 'finished')", "Did you mean 'finish'?",
    ),
    "an argument of another name": Mistake(
        'windows=["1h"]', 'window=["1h"]', "pipeline.py:30", "unexpected keyword argument 'window'"
    ),
    "an aggregate that is none": Mistake(
        'LastK("song", k=10)', '"song"', "Listening.recent", "Take Count, Sum, Mean, LastK"
    ),
    "a feature defined twice": Mistake(
        "    recent = ", "    taste = ", "Listening.taste", "Rename one of them."
    ),
    "a view listed twice": Mistake(
        "[Listening]", "[Listening, Listening]", "Listening: there are two views", "Rename one"
    ),
    "two views of one name": Mistake(
        "features=[Listening]", "features=[Listening, type(Listening)(\n"
        "    \"Listening\", (FeatureView,), {\"entity\": listener, \"source\": plays,\n"
        "    \"idle\": TimeSince()})]", "Listening: there are two views", "Rename one of them.",
    ),
    "two features of one column": Mistake(
        "    recent = ", "    finished_10m = TimeSince()\n    recent = ",
        "finished_10m: there are two feature columns", "Rename one of them.",
    ),
    "a view without an entity": Mistake(
        "entity, source = listener, plays", "source = plays", "Listening.entity", "Set it to"
    ),
    "a view of another entity": Mistake(
        "entity, source = listener, plays", 'entity, source = Entity("song", key="song"), plays',
        "Pipeline('songs').streams[0]", "List such a view of 'plays'",
    ),
    "an item that no impression carries": Mistake(
        '["song", "genre"]', '["genre"]', "Pipeline('songs').label.on", 'Add "song" to context.'
    ),
    "a missing number that is none": Mistake(
        "    label=", '    missing=["genre"],\n    label=', "missing[0]", "There are: "
    ),
    "a median of examples that were in no list": Mistake(
        'label=Joined(positive=col.kind == "like", on="song", within="30m")',
        'label=Labelled(positive=col.kind == "like"), relative=["idle"]',
        "Pipeline('songs').relative", "Leave it out, or join the label with impressions",
    ),
    "a label joined on the user": Mistake(
        'on="song"', 'on="listener"', "Pipeline('songs').label.on", "Name the field of the item"
    ),
    "a label joined on a number": Mistake(
        'on="song"', 'on="seconds"', "Joined.on", "Name a field of str or int."
    ),
    "a label that never comes": Mistake(
        'positive=col.kind == "like"', 'positive=col.kind == "liked"',
        "Joined.positive (kind == 'liked')", "Did you mean 'like'?",
    ),
    "a label that contradicts itself": Mistake(
        'positive=col.kind == "like"', 'positive=(col.kind == "like") & (col.kind == "finish")',
        "Joined.positive", "Combine them with |",
    ),
    "a label on what only an impression has": Mistake(
        'positive=col.kind == "like"', "positive=col.score > 0.5",
        "Joined.positive (score > 0.5)", "It has: play_id",
    ),
    "a misspelt time to join within": Mistake(
        'within="30m"', 'within="half an hour"', "Joined.within", WINDOW
    ),
    "a label that is a condition": Mistake(
        'label=Joined(positive=col.kind == "like", on="song", within="30m")',
        'label=col.kind == "like"', "Pipeline('songs').label", "Write label=Joined(...)",
    ),
    "a label that is a number, for a model of probabilities": Mistake(
        'label=Joined(positive=col.kind == "like", on="song", within="30m")',
        'label=Labelled(target="seconds")', "Pipeline('songs').model", "Take a regression",
    ),
    "a label that is a condition, for a model of numbers": Mistake(
        """label=Joined(positive=col.kind == "like", on="song", within="30m"),
    model=LogisticRegression(),""",
        """label=Labelled(positive=col.kind == "like"),
    model=DeepFM(loss=__import__("freshrank").QuantileLoss(0.9)),""",
        "Pipeline('songs').model", "Take a model of two outcomes, such as LogisticRegression()",
    ),
    "a model that is not called": Mistake(
        "LogisticRegression(),", "LogisticRegression,", "Pipeline('songs').model",
        "Write model=LogisticRegression(...)."
    ),
    "an optimiser in British spelling": Mistake(
        "optimizer=Adagrad(0.1)", "optimiser=Adagrad(0.1)", "'optimiser'",
        "Did you mean 'optimizer'?",
    ),
    "an object of a view": Mistake(
        "features=[Listening]", "features=[Listening()]", "an object of Listening is not",
        "without calling them",
    ),
    "an optimiser by name": Mistake(
        "Adagrad(0.1)", '"adagrad"', "Pipeline('songs').optimizer", "Write optimizer="
    ),
    "a learning rate below zero": Mistake(
        "Adagrad(0.1)", "Adagrad(-0.1)", "Adagrad.rate", "Give more than 0."
    ),
    "a learning rate as a text": Mistake(
        "Adagrad(0.1)", 'Adagrad("0.1")', "Adagrad.rate", "Give more than 0."
    ),
    "a context that is a text": Mistake(
        'context=["song", "genre"]', 'context="song"', "Pipeline('songs').context", 'Write ["song"]'
    ),
    "no context": Mistake(
        'context=["song", "genre"]', "context=None", "Pipeline('songs').context", "Write"
    ),
    "a list of streams in place of one": Mistake(
        "stream=plays,", "stream=[plays, plays],", "Pipeline('songs').stream: [Stream('plays'), ",
        "is a list. Write streams=[...] for several.",
    ),
    "a stream in place of a list": Mistake(
        "stream=plays,", "streams=plays,", "Pipeline('songs').streams: Stream('plays') is no list",
        "Write streams=[...].",
    ),
    "a stream for a view": Mistake(
        "features=[Listening]", "features=[plays]", "features: Stream('plays') is not a feature",
        "List classes that derive from FeatureView",
    ),
    "a number for features": Mistake(
        "features=[Listening]", "features=5", "features: 5 is no list", "features=[YourView]"
    ),
    "a list in the context": Mistake(
        'context=["song", "genre"]', 'context=[["song"], "genre"]', "context[0]: ['song'] is no fi",
        "Write its name",
    ),
    "a number for a field": Mistake(
        'time="at"', "time=5", "Stream('plays').time: 5 is no name of a field", "Write one name"
    ),
    "col for a field": Mistake(
        'id="play_id"', "id=col.play_id", "Stream('plays').id: col.play_id is no name", "Write one"
    ),
    "a list for a field": Mistake(
        'by="genre"', 'by=["genre"]', "Listening.taste: ['genre'] is no name of a field", "Write"
    ),
    "a format that is a text": Mistake(
        "schema=Play", 'schema=Play, format="json"', "Stream('plays').format: 'json' is no format",
        "Write Json() or Avro(schema).",
    ),
    "a topic that is a number": Mistake('"plays"', "5", "Stream(5)", "Take another name."),
    "an entity with a number for its key": Mistake(
        'key="listener"', "key=5", "Entity('listener'): its key is 5", "Write the name of a field"
    ),
    "an entity whose name is a number": Mistake(
        '"listener", key', "5, key", "Entity(5)", "Take a name like 'user'."
    ),
    "crosses that are no list": Mistake(
        "optimizer=Adagrad(0.1),", "optimizer=Adagrad(0.1),\n    crosses=None,",
        "Pipeline('songs').crosses: None is no list", "Write crosses=[",
    ),
    "a cross that is a number": Mistake(
        "optimizer=Adagrad(0.1),", "optimizer=Adagrad(0.1),\n    crosses=[5],", "crosses 5",
        "Write pairs",
    ),
    "a list for a missing number": Mistake(
        "optimizer=Adagrad(0.1),", 'optimizer=Adagrad(0.1),\n    missing=[["rating"]],',
        "missing[0]: ['rating'] is no numeric input", "There are: ",
    ),
    "samples that are a list": Mistake(
        "optimizer=Adagrad(0.1),", "optimizer=Adagrad(0.1),\n    samples=[],",
        "Pipeline('songs').samples: [] is no dict", "Write samples={",
    ),
    "a cross of one": Mistake(
        "optimizer=Adagrad(0.1),", 'optimizer=Adagrad(0.1),\n    crosses=["song"],',
        "crosses 'song'", "Write pairs",
    ),
    "a cross with what is no input": Mistake(
        "optimizer=Adagrad(0.1),", 'optimizer=Adagrad(0.1),\n    crosses=[("song", "mood")],',
        "crosses ('song', 'mood')", "There are: listener, song",
    ),
    "a name with capitals": Mistake(
        '"songs"', '"My Songs"', "Pipeline('My Songs')", "Use lower-case letters"
    ),
    "a topic with a blank": Mistake(
        '"plays"', '"my plays"', "Stream('my plays')", "Take another name."
    ),
    "a topic of dots": Mistake('"plays"', '".."', "Stream('..')", "Take another name."),
    "a size that is a text": Mistake(
        "schema=Play", 'schema=Play, max_bytes="1MB"', "Stream('plays').max_bytes", "Take 1 or more"
    ),
    "a schema that is none": Mistake(
        "class Play(msgspec.Struct)", "class Play", "Stream('plays')", "Declare a class of msgspec"
    ),
    "a pipeline without a label": Mistake(
        '    label=Joined(positive=col.kind == "like", on="song", within="30m"),\n', "",
        "pipeline.py:35", "missing 1 required keyword-only argument: 'label'",
    ),
    "no pipeline": Mistake(
        "pipeline = Pipeline(", "dict(name=", "pipeline.py", "pipeline = Pipeline(...)"
    ),
    "a syntax error": Mistake(
        "features=[Listening],", "features=[Listening,", "pipeline.py:43", "line 38"
    ),
    "a module that is not there": Mistake(
        "import msgspec\n", "import msgspec\nimport no_such_module\n",
        "pipeline.py:4", "No module named 'no_such_module'",
    ),
    "a name that freshrank does not have": Mistake(
        "TimeSince, col,", "TimeSince, col, Median,", "pipeline.py:5", "cannot import name 'Median'"
    ),
    "an exit": Mistake(
        "\n\npipeline = ", "\n\nraise SystemExit(0)\npipeline = ", "pipeline.py:35", "SystemExit"
    ),
}  # fmt: skip
