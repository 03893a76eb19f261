"""What a pipeline file may get wrong, and what it is told."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freshrank import (
    FTRL,
    Adagrad,
    Count,
    DeepFM,
    Entity,
    FeatureView,
    Joined,
    Labelled,
    LinearRegression,
    LinearSVM,
    LogisticRegression,
    Pipeline,
    QuantileLoss,
    Stream,
    Sum,
    Table,
    col,
)
from freshrank.actors.errors import ConfigError
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import side_topics
from freshrank.feature_actors.streams.formats import Json
from freshrank.learner import checkpoints
from freshrank.learner.models.losses import ClassWeighted, DownSampled, LogLoss, PlackettLuceLoss
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER

EXAMPLE = Path(__file__).parents[4] / "examples" / "recommend.py"


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    kind: str
    ts: int


SAMPLED = Joined(positive=col.kind == "order", on="item", within="30m", negatives_kept=0.25)
LISTWISE = Joined(positive=col.kind == "order", on="item", within="30m", listwise=True)
user = Entity("user", key="user")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
others = Stream("others", id="id", time="ts", key=user, schema=Click)


class Product(msgspec.Struct):
    item: int
    kind: str
    price: float | None = None


class NamedProduct(msgspec.Struct):
    item: str
    price: float


catalogue = Table("catalogue", key=Entity("item", key="item"), schema=Product)
named = Table("catalogue", key=Entity("item", key="item"), schema=NamedProduct)
of_kinds = Table("kinds", key=Entity("kind", key="kind"), schema=Product)
profiles = Table("profiles", key=user, schema=Click)


class Activity(FeatureView):
    entity, source = user, clicks
    views = Count(where=col.kind == "view", windows=["5m"])


class Elsewhere(FeatureView):
    entity, source = user, others
    views = Count(windows=["5m"])


def pipeline(**changes: Any) -> Pipeline:
    arguments: dict[str, Any] = {
        "name": "shop",
        "stream": clicks,
        "features": [Activity],
        "context": ["item"],
        "label": Joined(positive=col.kind == "order", on="item", within="30m"),
        "model": LogisticRegression(),
        "optimizer": Adagrad(0.1),
    }
    return Pipeline(**{**arguments, **changes})


def test_a_sound_pipeline_derives_its_parts() -> None:
    one = pipeline()
    assert one.plan.tables[0].columns == ("views_5m",)
    assert one.topics == ("clicks", "shop.impressions")
    assert one.bound_model.dense_size == 1 + len(one.encoder.layout.dense)
    assert "views" in one.describe()
    assert one.online_features.context == {"item": int}


def test_the_optimizer_may_be_left_out() -> None:
    one = Pipeline(
        "shop",
        stream=clicks,
        features=[Activity],
        context=["item"],
        label=Joined(positive=col.kind == "order", on="item", within="30m"),
        model=LogisticRegression(),
    )
    assert one.optimizer == DEFAULT_OPTIMIZER
    before = checkpoints.made_for(one.bound_model, FTRL(alpha=0.1))
    assert before in checkpoints.readable(one.bound_model, one.optimizer)


class Order(msgspec.Struct):
    number: int
    customer: str
    total: float
    at: int


# The same entity, by the field that this stream names it with.
orders = Stream("orders", id="number", time="at", key=Entity("user", key="customer"), schema=Order)


class Spending(FeatureView):
    entity, source = orders.key, orders
    spent = Sum("total", windows=["1h"])


BOTH: dict[str, Any] = {
    "stream": None,
    "streams": [clicks, orders],
    "features": [Spending, Activity],
}


def test_several_streams_fill_a_table_each() -> None:
    both = pipeline(**BOTH)
    assert both.stream is clicks, "the first: label and context refer to it"
    assert both.topics == ("clicks", "orders", "shop.impressions")
    assert [table.name for table in both.plan.tables] == ["user/clicks", "user/orders"]
    assert both.encoder.layout.dense == ("views_5m", "spent_1h")
    assert len(both.online_features.keys("user", "u1")) == 2
    assert "'clicks'" in both.describe() and "'orders'" in both.describe()
    assert side_topics(both) == [
        "clicks.dead", "orders.dead", "shop.impressions.dead",
        "clicks.late", "orders.late", "shop.alerts",
    ]  # fmt: skip


def test_one_stream_in_a_list_is_that_stream() -> None:
    listed = pipeline(stream=None, streams=[clicks])
    assert listed.made_for.fingerprint == pipeline().made_for.fingerprint
    assert listed.stream is clicks
    assert pipeline().streams == (clicks,)
    assert replace(listed, optimizer=Adagrad(0.2)).streams == (clicks,)


def test_the_order_of_views_is_no_order_of_streams() -> None:
    both = pipeline(**BOTH)
    assert (
        replace(both, features=[Activity, Spending]).made_for.fingerprint
        == both.made_for.fingerprint
    )
    assert both.made_for.fingerprint != pipeline().made_for.fingerprint


def of_orders(key: str, name: str, kind: type) -> Stream:
    schema = msgspec.defstruct("Order", [("number", int), (key, kind), ("at", int)])
    return Stream("orders", id="number", time="at", key=Entity(name, key=key), schema=schema)


@pytest.mark.parametrize(
    ("changes", "place", "problem"),
    [
        ({"stream": orders}, ".stream", "both stream and streams are given"),
        ({"streams": "clicks"}, ".streams", "'clicks' is no list of streams"),
        ({"streams": clicks}, ".streams", "is no list of streams"),
        ({"streams": [clicks, "orders"]}, ".streams[1]", "'orders' is no stream"),
        ({"streams": [clicks, orders, clicks]}, ".streams[2]", "topic 'clicks' is given twice"),
        ({"features": [Activity]}, ".streams[1]", "no view reads it"),
    ],
)
def test_streams_that_do_not_go_together_are_named(
    changes: dict[str, Any], place: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline(**BOTH | changes)
    assert caught.value.place == f"Pipeline('shop'){place}"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        (of_orders("item", "item", str), "item (str)"),
        (of_orders("user", "user", int), "user (int)"),
    ],
)
def test_streams_of_other_keys_are_refused(stream: Stream, key: str) -> None:
    view = type(
        "Sold",
        (FeatureView,),
        {"entity": stream.key, "source": stream, "sold": Count(windows=["1h"])},
    )
    with pytest.raises(ConfigError) as caught:
        pipeline(**BOTH | {"streams": [clicks, stream], "features": [Activity, view]})
    assert caught.value.place == "Pipeline('shop').streams[1]"
    wanted = f"its records are keyed by {key}, those of 'clicks' by user (str)"
    assert caught.value.problem == wanted


def reads(stream: Stream) -> type[FeatureView]:
    """A view of a stream."""
    counted = Count(windows=["5m"])
    return type(
        f"Of{stream.topic}",
        (FeatureView,),
        {"entity": user, "source": stream, stream.topic: counted},
    )


def test_state_of_another_partitioner_is_refused() -> None:
    by_crc32 = replace(clicks, partitioner="crc32")
    of = {
        stream.partitioner: pipeline(stream=stream, features=[reads(stream)])
        for stream in (clicks, by_crc32)
    }
    assert of["murmur2"].encoder.fingerprint == of["crc32"].encoder.fingerprint
    assert of["murmur2"].made_for.fingerprint != of["crc32"].made_for.fingerprint
    assert of["crc32"].partitioners == {"clicks": "crc32", "shop.impressions": "crc32"}


def test_streams_of_two_partitioners_go_with_a_join_and_not_with_labels_in_events() -> None:
    by_crc32 = replace(others, partitioner="crc32")
    changes: dict[str, Any] = {
        "stream": None,
        "streams": [clicks, by_crc32],
        "features": [reads(clicks), reads(by_crc32)],
    }
    assert pipeline(**changes).partitioners["others"] == "crc32"
    with pytest.raises(ConfigError, match="an entity's rows lie in two partitions"):
        pipeline(**changes, label=Labelled(positive=col.kind == "order"))


def test_a_label_of_another_streams_fields_is_told_which_stream_labels_come_from() -> None:
    search = msgspec.defstruct("Search", [("id", str), ("user", str), ("item", int), ("ts", int)])
    searches = Stream("searches", id="id", time="ts", key=user, schema=search)
    of_both: dict[str, Any] = {"stream": None, "features": [reads(clicks), reads(searches)]}
    with pytest.raises(ConfigError) as told:
        pipeline(**of_both, streams=[searches, clicks])
    assert "Stream('searches') has no field 'kind'" in told.value.problem
    assert "first stream, 'searches'. Write 'clicks' first in streams=[...]" in told.value.fix
    unknown = Joined(positive=col.kindd == "order", on="item", within="1h")
    with pytest.raises(ConfigError, match=r"first stream, 'clicks'\. Did you mean 'kind'"):
        pipeline(**of_both, streams=[clicks, searches], label=unknown)


def test_an_id_that_is_not_empty_is_a_condition_that_holds_for_every_event() -> None:
    assert pipeline(label=Joined(positive=col.id != "", on="item", within="1h")).joined


def test_labels_of_the_events_themselves_need_no_impressions() -> None:
    assert pipeline(label=Labelled(positive=col.kind == "order")).topics == ("clicks",)


def test_a_label_that_keeps_some_negatives_corrects_the_models_loss() -> None:
    assert pipeline(label=SAMPLED).bound_model.loss == DownSampled(LogLoss(), 0.25)
    assert pipeline(label=SAMPLED, model=DeepFM()).bound_model.loss.negatives_kept == 0.25
    assert pipeline(label=SAMPLED).made_for.fingerprint != pipeline().made_for.fingerprint


def test_a_listwise_label_gives_the_model_the_loss_of_a_choice() -> None:
    for model in (LogisticRegression(), DeepFM()):
        of_lists = pipeline(label=LISTWISE, model=model)
        assert of_lists.bound_model.loss == PlackettLuceLoss()
        assert of_lists.made_for.fingerprint != pipeline(model=model).made_for.fingerprint
        one, other = of_lists.bound_model.fingerprint, pipeline(model=model).bound_model.fingerprint
        assert one != other, "weights that mean something else"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": "My Shop"}, "Pipeline('My Shop')"),
        ({"name": ""}, "Pipeline('')"),
        ({"stream": "clicks"}, "Pipeline('shop').stream"),
        ({"features": []}, "Pipeline('shop').features"),
        ({"features": Activity}, "Pipeline('shop').features"),
        ({"features": [Activity()]}, "Pipeline('shop').features"),
        ({"features": [Elsewhere]}, "Elsewhere.source"),
        ({"context": "item"}, "Pipeline('shop').context"),
        ({"context": ["itm"]}, "Pipeline('shop').context[0]"),
        ({"context": ["kind"]}, "Pipeline('shop').label.on"),
        ({"label": col.kind == "order"}, "Pipeline('shop').label"),
        ({"label": Labelled(positive=col.knd == "order")}, "Labelled.positive (knd == 'order')"),
        (
            {"label": Labelled(positive=col.kind == "order"), "context": ["item", "kind"]},
            "Pipeline('shop').context[1]",
        ),
        ({"model": LogisticRegression}, "Pipeline('shop').model"),
        ({"model": Json()}, "Pipeline('shop').model"),
        ({"optimizer": "adagrad"}, "Pipeline('shop').optimizer"),
        ({"label": SAMPLED, "model": LinearSVM()}, "Pipeline('shop').model"),
        ({"label": SAMPLED, "model": LinearRegression()}, "negatives_kept"),
        ({"label": LISTWISE, "model": LinearSVM()}, "Pipeline('shop').model"),
        (
            {"label": LISTWISE, "model": LogisticRegression(loss=ClassWeighted(positive=2.0))},
            "Pipeline('shop').model",
        ),
        ({"model": LinearRegression()}, "Pipeline('shop').model"),
        ({"model": DeepFM(loss=QuantileLoss(0.9))}, "Pipeline('shop').model"),
        (
            {"model": LinearRegression(), "label": Labelled(positive=col.kind == "order")},
            "Pipeline('shop').model",
        ),
        ({"crosses": [("item", "kind")]}, "crosses ('item', 'kind')"),
    ],
)
def test_each_mistake_is_named_with_its_place_and_a_fix(
    changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline(**changes)
    assert caught.value.place == place
    assert caught.value.fix.endswith((".", "?"))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"tables": catalogue}, "Pipeline('shop').tables"),
        ({"tables": ["catalogue"]}, "Pipeline('shop').tables[0]"),
        ({"context": ["item", catalogue.price]}, "Pipeline('shop').context[1]"),
        ({"tables": [catalogue], "context": ["item", catalogue]}, "Pipeline('shop').context[1]"),
        ({"tables": [catalogue], "context": ["item"]}, "Pipeline('shop').tables[0]"),
        (
            {"tables": [of_kinds], "context": ["item", of_kinds.price]},
            "Pipeline('shop').tables[0]",
        ),
        ({"tables": [named], "context": ["item", named.price]}, "Pipeline('shop').tables[0]"),
        (
            {"tables": [profiles], "context": ["item", profiles.kind]},
            "Pipeline('shop').tables[0]",
        ),
        (
            {"tables": [catalogue, catalogue], "context": ["item", catalogue.price]},
            "Pipeline('shop').tables[1]",
        ),
        (
            {
                "tables": [catalogue],
                "context": ["item", catalogue.price],
                "label": Labelled(positive=col.kind == "order"),
            },
            "Pipeline('shop').label",
        ),
        ({"tables": [catalogue], "context": ["item", "kind", catalogue.kind]}, "context"),
    ],
)
def test_each_mistake_with_a_table_is_named(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline(**changes)
    assert caught.value.place == place
    assert caught.value.fix.endswith((".", "?"))


class OfItems(FeatureView):
    entity, source = Entity("item", key="item"), clicks
    bought = Count(where=col.kind == "order", windows=["5m"])


class OfOtherItems(FeatureView):
    entity, source = Entity("item", key="kind"), clicks
    bought = Count(windows=["1h"])


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"features": [OfItems]}, "Pipeline('shop').streams[0]"),
        ({"features": [Activity, OfOtherItems]}, "OfOtherItems.entity"),
        (
            {"features": [Activity, OfItems, OfOtherItems], "context": ["item", "kind"]},
            "Entity('item')",
        ),
    ],
)
def test_each_mistake_with_a_view_of_items_is_named(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline(**changes)
    assert caught.value.place == place
    assert caught.value.fix.endswith((".", "?"))


def test_a_view_of_items_reads_copies_of_the_stream() -> None:
    one = pipeline(features=[Activity, OfItems])
    assert one.topics == ("clicks", "shop.impressions")
    assert one.candidate_topics == {"item": ["clicks.by_item"]}
    assert one.rekeyed_topics == ("clicks",)
    assert one.encoder.layout.dense == ("views_5m", "bought_5m")
    assert one.plan.fingerprint == pipeline().plan.fingerprint, "the rows of users stay"


def test_a_table_changes_the_inputs_and_no_state_of_the_events() -> None:
    """Adding a table keeps what the shards know of users."""
    own = pipeline(context=["item", "kind"])
    tabled = pipeline(tables=[catalogue], context=["item", catalogue.kind])
    assert tabled.encoder.layout == own.encoder.layout
    assert tabled.topics == own.topics
    assert tabled.candidate_topics == {"item": ["catalogue"]}
    assert tabled.made_for.fingerprint == own.made_for.fingerprint
    assert list(tabled.online_features.context) == ["item"]
    assert "the latest row of 'catalogue' (kind, price)" in tabled.describe()


def test_the_fingerprint_tells_definitions_apart_and_not_learning_rates() -> None:
    one = pipeline()
    assert pipeline().made_for.fingerprint == one.made_for.fingerprint
    assert replace(one, optimizer=Adagrad(0.2)).made_for.fingerprint == one.made_for.fingerprint
    label = Joined(positive=col.kind == "order", on="item", within="20m")
    assert replace(one, label=label).made_for.fingerprint != one.made_for.fingerprint
    assert replace(one, context=["item", "kind"]).made_for.fingerprint != one.made_for.fingerprint


def test_a_file_crosses_processes_as_text_and_loads_the_same_there() -> None:
    file = PipelineFile.read(EXAMPLE)
    again = pickle.loads(pickle.dumps(file))
    assert again == file
    assert again.load().made_for.fingerprint == file.load().made_for.fingerprint
    assert file.load() is file.load()


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("x = 1\nif\n", "f.py:2", "syntax error: invalid syntax"),
        ("def f():\n    return 1 / 0\n\nf()\n", "f.py:2", "ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found\n", "f.py:1", "ModuleNotFoundError"),
        ("x = 1\n", "f.py", "found none"),
        (
            "from freshrank import Entity\n\nEntity('a b', key='k')\n",
            "f.py:3: Entity('a b')",
            "an entity's name",
        ),
    ],
)
def test_a_broken_file_is_one_error_with_file_and_line(text: str, place: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineFile("f.py", text).load()
    assert caught.value.place == place
    assert problem in caught.value.problem
    with pytest.raises(ConfigError):  # and again, not half a module from the first time
        PipelineFile("f.py", text).load()


def test_a_file_that_imports_its_neighbour_is_told_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "shared_views.py").write_text("x = 1")
    with pytest.raises(ConfigError) as caught:
        PipelineFile(str(tmp_path / "p.py"), "from shared_views import x\n").load()
    assert "'shared_views', which lies beside it" in caught.value.problem
    assert "package that is installed on every machine" in caught.value.fix


def test_two_pipelines_in_a_file_are_refused() -> None:
    more = "\nfrom dataclasses import replace\nb = replace(pipeline, name='b')\n"
    with pytest.raises(ConfigError, match="found pipeline, b"):
        PipelineFile("two.py", EXAMPLE.read_text() + more).load()
    same = EXAMPLE.read_text() + "\nalias = pipeline\n"
    assert PipelineFile("one.py", same).load().name == "recommend"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.py: cannot be read"):
        PipelineFile.read(tmp_path / "absent.py")


@pytest.mark.parametrize("key", ["user", Entity, None])
def test_a_key_that_is_no_entity_is_named(key: Any) -> None:
    with pytest.raises(ConfigError, match=r"Stream\('clicks'\)\.key: .* is no entity"):
        Stream("clicks", id="id", time="ts", key=key, schema=Click)
    with pytest.raises(ConfigError, match=r"Table\('rows'\)\.key: .* is no entity"):
        Table("rows", key=key, schema=Product)
