import msgspec
import numpy as np

from freshrank.examples.recommend import Behaviour, pipeline
from freshrank.examples.shop.shoppers import Shop
from freshrank.feature_actors.labels.definitions import Joined


def test_every_event_of_the_shop_fits_the_schema_with_nothing_left_over() -> None:
    shop = Shop(np.random.default_rng(0), "t")
    events = shop.browse(50, 1_000)
    while not any(event.type == "order" for event in events):
        events += shop.react("u00001", shop.candidates(20), 1_000)
    for event in events:
        decoded = msgspec.json.decode(msgspec.json.encode(event), type=Behaviour, strict=True)
        assert msgspec.structs.asdict(decoded) == msgspec.structs.asdict(event)


def test_a_click_reaches_its_impression_within_the_time_that_the_label_gives() -> None:
    shop = Shop(np.random.default_rng(0), "t")
    clicks = [
        event.ts
        for _ in range(200)
        for event in shop.react("u00001", shop.candidates(10), 0)
        if event.type == "click"
    ]
    assert isinstance(pipeline.label, Joined)
    assert max(clicks) < pipeline.label.within_ms


def test_the_model_sees_how_much_the_shopper_is_after_the_candidates_category() -> None:
    assert "interest_match" in pipeline.encoder.layout.dense


def test_the_candidates_of_the_page_lie_in_their_categories() -> None:
    events = Shop(np.random.default_rng(0), "t").browse(20_000, 1_000)
    category = {event.item_id: event.category_id for event in events}
    offered = pipeline.samples["candidates"]
    assert isinstance(offered, list)
    for one in offered:
        assert one["category_id"] == category[one["item_id"]]
