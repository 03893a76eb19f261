import numpy as np
import pytest

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import Examples, Progress, SourceOffsets, Version
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.partition.example_queue import SPAN_EXAMPLES, ExampleQueue


def rows(*order: int) -> LabelledRows:
    places = np.array(order, dtype=np.int64)
    return LabelledRows(
        places,
        np.stack([places, places * 2], axis=1).astype(np.float32),
        places.reshape(-1, 1) * 3,
        (places % 2).astype(np.float32),
        places * 1_000,
    )


NOTHING = LabelledRows.none(2, 1)


def example_queue(begin: SourceOffsets = (0, 0)) -> ExampleQueue:
    return ExampleQueue(4, begin, dense_width=2, id_width=1)


def told(applied: SourceOffsets, durable: SourceOffsets = (), accepted: bool = True) -> Progress:
    return Progress(accepted, False, applied, durable, Version(1, 1))


def offered(box: ExampleQueue) -> tuple[SourceOffsets, SourceOffsets, list[int]] | None:
    examples = box.offer()
    if examples is None:
        return None
    assert examples.offset_range.partition == 4
    places = examples.inputs.dense[:, 0].astype(np.int64)
    assert examples.inputs.ids[:, 0].tolist() == (places * 3).tolist()
    assert examples.labels.tolist() == (places % 2).tolist()
    assert examples.event_times_ms.tolist() == (places * 1_000).tolist()
    return examples.offset_range.begin, examples.offset_range.end, places.tolist()


def test_examples_of_a_span_stand_in_the_order_of_the_log() -> None:
    box = example_queue()
    box.extend(rows(5, 2), (3, 0))
    box.extend(rows(1), (4, 2))
    assert offered(box) == ((0, 0), (4, 2), [1, 2, 5])


def test_a_span_keeps_its_bounds_until_it_is_applied() -> None:
    box = example_queue()
    box.extend(rows(1), (2, 0))
    assert offered(box) == ((0, 0), (2, 0), [1])
    box.extend(rows(2), (3, 0))
    assert offered(box) == ((0, 0), (2, 0), [1])
    box.answer(told((2, 0)))
    assert offered(box) == ((2, 0), (3, 0), [2])
    box.answer(told((3, 0)))
    assert box.offer() is None


def test_the_first_span_that_is_kept_says_so() -> None:
    box = example_queue()
    for place in (1, 2):
        box.extend(rows(place), (place, 0))
        box.close()
    first = box.offer()
    assert first is not None and first.offset_range.first
    box.answer(told((1, 0)))
    second = box.offer()
    assert second is not None and not second.offset_range.first
    box.answer(told((1, 0), durable=(1, 0)))  # the one before it is forgotten
    second = box.offer()
    assert second is not None and second.offset_range.first


def test_where_the_next_span_ends_is_known_before_it_is_offered() -> None:
    box = example_queue()
    box.extend(NOTHING, (1, 0))
    ends = [box.next_end]
    box.extend(rows(1), (2, 0))
    ends.append(box.next_end)
    box.close()
    box.extend(rows(2), (3, 0))
    ends.append(box.next_end)
    box.answer(told((2, 0)))
    ends.append(box.next_end)
    assert ends == [None, (2, 0), (2, 0), (3, 0)]


def test_cuts_without_examples_are_not_offered_but_covered_by_the_next_span() -> None:
    box = example_queue()
    box.extend(NOTHING, (5, 5))
    assert box.offer() is None
    box.extend(rows(9), (6, 5))
    assert offered(box) == ((0, 0), (6, 5), [9])


def test_examples_are_kept_until_they_are_durable_and_then_forgotten() -> None:
    box = example_queue()
    for place in (1, 2, 3):
        box.extend(rows(place), (place, 0))
        box.offer()
        box.answer(told((place, 0)))
    assert (box.examples, box.unsent) == (3, 0)
    box.answer(told((3, 0), durable=(2, 0)))
    assert (box.examples, box.unsent) == (1, 0)
    assert box.nbytes > 0
    box.answer(told((2, 0), durable=(2, 0)))  # the learner came back from its checkpoint
    assert offered(box) == ((2, 0), (3, 0), [3])
    assert box.unsent == 1


def test_a_learner_that_knows_nothing_gets_all_that_is_kept() -> None:
    box = example_queue((7, 7))
    box.extend(rows(1), (8, 7))
    box.offer()
    box.answer(told((8, 7)))
    box.answer(told(()))
    assert offered(box) == ((7, 7), (8, 7), [1])


@pytest.mark.parametrize("applied", [(1, 1), (9, 9)])
def test_a_cut_that_is_no_bound_is_an_error_that_names_it(applied: SourceOffsets) -> None:
    box = example_queue()
    box.extend(rows(1), (2, 2))
    box.offer()
    with pytest.raises(ProgressError, match=rf"partition 4: .* up to \({applied[0]}, "):
        box.answer(told(applied))


def test_a_span_that_grows_long_is_closed() -> None:
    box = example_queue()
    box.extend(rows(*range(SPAN_EXAMPLES)), (1, 0))
    box.extend(rows(SPAN_EXAMPLES), (2, 0))
    first = box.offer()
    assert first is not None and (first.offset_range.end, len(first)) == ((1, 0), SPAN_EXAMPLES)
    box.answer(told((1, 0)))
    assert offered(box) == ((1, 0), (2, 0), [SPAN_EXAMPLES])


def test_arrays_bring_an_outbox_back_with_the_bounds_of_its_spans() -> None:
    box = example_queue()
    box.extend(rows(1), (1, 0))
    box.offer()
    box.extend(rows(4, 2), (2, 3))
    back = example_queue()
    back.load({name: one.copy() for name, one in box.freeze()().items()})
    assert back.examples == 3
    assert offered(back) == ((0, 0), (1, 0), [1])
    back.extend(NOTHING, (5, 5))
    back.answer(told((1, 0)))
    assert offered(back) == ((1, 0), (5, 5), [2, 4])


class TestResume:
    def replayed(
        self, box: ExampleQueue, *cuts: SourceOffsets
    ) -> list[tuple[SourceOffsets, SourceOffsets, list[int]]]:
        """What is offered after reading on through `cuts`, one example each."""
        for place, cut in enumerate(cuts):
            box.extend(rows(place), cut)
        found = []
        while (one := offered(box)) is not None:
            found.append(one)
            box.answer(told(one[1]))
        return found

    def test_what_is_durable_is_not_kept_and_what_is_applied_is_kept_as_sent(self) -> None:
        box = example_queue()
        assert box.resume(told((6, 0), durable=(4, 0))) == [(4, 0), (6, 0)]
        box.extend(rows(1), (2, 0))
        box.extend(rows(2), (4, 0))
        assert box.examples == 0
        box.extend(rows(5), (6, 0))
        box.reach()
        assert (box.examples, box.unsent) == (1, 0)
        assert self.replayed(box, (8, 0)) == [((6, 0), (8, 0), [0])]
        box.answer(told((4, 0)))
        assert offered(box) == ((4, 0), (6, 0), [5])

    def test_a_checkpoint_of_all_that_is_applied_needs_one_stop(self) -> None:
        box = example_queue()
        assert box.resume(told((6, 0), durable=(6, 0))) == [(6, 0)]
        box.extend(rows(1), (6, 0))
        box.reach()
        assert box.examples == 0
        assert self.replayed(box, (7, 0)) == [((6, 0), (7, 0), [0])]

    def test_a_learner_further_back_gets_the_rest_again(self) -> None:
        box = example_queue()
        for place in (1, 2):
            box.extend(rows(place), (place, 0))
            box.offer()
            box.answer(told((place, 0)))
        back = example_queue()
        back.load(box.freeze()())
        assert back.can_serve((1, 0))
        assert back.resume(told((1, 0), durable=(1, 0))) == []
        assert offered(back) == ((1, 0), (2, 0), [2])

    def test_a_cut_between_the_bounds_cannot_be_served(self) -> None:
        box = example_queue()
        box.extend(rows(1), (5, 5))
        box.close()
        assert not box.can_serve((3, 5))
        assert not box.can_serve((9, 1))
        assert box.can_serve((5, 5)) and box.can_serve((0, 0)) and box.can_serve(())
        assert box.can_serve((7, 5))
        with pytest.raises(ProgressError):
            box.resume(told((3, 5)))

    def test_a_learner_that_knows_nothing_needs_no_stop(self) -> None:
        box = example_queue()
        box.extend(rows(1), (5, 5))
        assert box.resume(told(())) == []
        assert offered(box) == ((0, 0), (5, 5), [1])


def test_joining_no_rows_gives_none_of_the_right_widths() -> None:
    none = LabelledRows.join([NOTHING, NOTHING], 2, 1)
    assert (none.dense.shape, none.ids.shape, len(none)) == ((0, 2), (0, 1), 0)


def test_examples_are_those_of_the_messages() -> None:
    box = example_queue()
    box.extend(rows(3), (1, 0))
    assert isinstance(box.offer(), Examples)
