from freshrank.actors.messages import IdField, InputLayout


def test_the_id_width_of_a_layout_counts_the_columns_of_bags() -> None:
    layout = InputLayout(("price",), (IdField("item_id"), IdField("recent", 20)))
    assert layout.id_width == 21
