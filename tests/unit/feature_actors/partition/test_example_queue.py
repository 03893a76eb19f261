import numpy as np
import pytest
from source_offsets import upto

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import BEGINNING, Examples, Progress, SourceOffsets, Version
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


TOPICS = ["events", "shown"]
NOTHING = LabelledRows.none(2, 1)


def example_queue(begin: SourceOffsets = BEGINNING) -> ExampleQueue:
    return ExampleQueue(4, TOPICS, dense_width=2, id_width=1, begin=begin)


def told(
    applied: SourceOffsets, durable: SourceOffsets = BEGINNING, accepted: bool = True
) -> Progress:
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
    box.extend(rows(5, 2), upto(3, 0))
    box.extend(rows(1), upto(4, 2))
    assert offered(box) == (upto(0, 0), upto(4, 2), [1, 2, 5])


def test_a_span_keeps_its_bounds_until_it_is_applied() -> None:
    box = example_queue()
    box.extend(rows(1), upto(2, 0))
    assert offered(box) == (upto(0, 0), upto(2, 0), [1])
    box.extend(rows(2), upto(3, 0))
    assert offered(box) == (upto(0, 0), upto(2, 0), [1])
    box.answer(told(upto(2, 0)))
    assert offered(box) == (upto(2, 0), upto(3, 0), [2])
    box.answer(told(upto(3, 0)))
    assert box.offer() is None


def test_the_first_span_that_is_kept_says_so() -> None:
    box = example_queue()
    for place in (1, 2):
        box.extend(rows(place), upto(place))
        box.close()
    first = box.offer()
    assert first is not None and first.offset_range.first
    box.answer(told(upto(1, 0)))
    second = box.offer()
    assert second is not None and not second.offset_range.first
    box.answer(told(upto(1, 0), durable=upto(1, 0)))  # the one before it is forgotten
    second = box.offer()
    assert second is not None and second.offset_range.first


def test_where_the_next_span_ends_is_known_before_it_is_offered() -> None:
    box = example_queue()
    box.extend(NOTHING, upto(1, 0))
    ends = [box.next_end]
    box.extend(rows(1), upto(2, 0))
    ends.append(box.next_end)
    box.close()
    box.extend(rows(2), upto(3, 0))
    ends.append(box.next_end)
    box.answer(told(upto(2, 0)))
    ends.append(box.next_end)
    assert ends == [None, upto(2, 0), upto(2, 0), upto(3, 0)]


def test_offsets_without_examples_are_not_offered_but_covered_by_the_next_span() -> None:
    box = example_queue()
    box.extend(NOTHING, upto(5, 5))
    assert box.offer() is None
    box.extend(rows(9), upto(6, 5))
    assert offered(box) == (upto(0, 0), upto(6, 5), [9])


def test_examples_are_kept_until_they_are_durable_and_then_forgotten() -> None:
    box = example_queue()
    for place in (1, 2, 3):
        box.extend(rows(place), upto(place))
        box.offer()
        box.answer(told(upto(place)))
    assert (box.examples, box.unsent) == (3, 0)
    box.answer(told(upto(3, 0), durable=upto(2, 0)))
    assert (box.examples, box.unsent) == (1, 0)
    assert box.nbytes > 0
    box.answer(told(upto(2, 0), durable=upto(2, 0)))  # the learner came back from its checkpoint
    assert offered(box) == (upto(2, 0), upto(3, 0), [3])
    assert box.unsent == 1


def test_a_learner_that_knows_nothing_gets_all_that_is_kept() -> None:
    box = example_queue(upto(7, 7))
    box.extend(rows(1), upto(8, 7))
    box.offer()
    box.answer(told(upto(8, 7)))
    box.answer(told(BEGINNING))
    assert offered(box) == (upto(7, 7), upto(8, 7), [1])


@pytest.mark.parametrize("applied", [upto(1, 1), upto(9, 9)])
def test_offsets_that_are_no_bound_are_an_error_that_names_it(applied: SourceOffsets) -> None:
    box = example_queue()
    box.extend(rows(1), upto(2, 2))
    box.offer()
    with pytest.raises(
        ProgressError, match=rf"partition 4: .* up to \(events {applied['events']}, "
    ):
        box.answer(told(applied))


def test_a_span_that_grows_long_is_closed() -> None:
    box = example_queue()
    box.extend(rows(*range(SPAN_EXAMPLES)), upto(1, 0))
    box.extend(rows(SPAN_EXAMPLES), upto(2, 0))
    first = box.offer()
    assert first is not None and (first.offset_range.end, len(first)) == (upto(1, 0), SPAN_EXAMPLES)
    box.answer(told(upto(1, 0)))
    assert offered(box) == (upto(1, 0), upto(2, 0), [SPAN_EXAMPLES])


def test_arrays_bring_an_outbox_back_with_the_bounds_of_its_spans() -> None:
    box = example_queue()
    box.extend(rows(1), upto(1, 0))
    box.offer()
    box.extend(rows(4, 2), upto(2, 3))
    back = example_queue()
    back.load({name: one.copy() for name, one in box.freeze()().items()}, TOPICS)
    assert back.examples == 3
    assert offered(back) == (upto(0, 0), upto(1, 0), [1])
    back.extend(NOTHING, upto(5, 5))
    back.answer(told(upto(1, 0)))
    assert offered(back) == (upto(1, 0), upto(5, 5), [2, 4])


class TestResume:
    def replayed(
        self, box: ExampleQueue, *ends: SourceOffsets
    ) -> list[tuple[SourceOffsets, SourceOffsets, list[int]]]:
        """What is offered after reading on through `ends`, one example each."""
        for place, end in enumerate(ends):
            box.extend(rows(place), end)
        found = []
        while (one := offered(box)) is not None:
            found.append(one)
            box.answer(told(one[1]))
        return found

    def test_what_is_durable_is_not_kept_and_what_is_applied_is_kept_as_sent(self) -> None:
        box = example_queue()
        assert box.resume(told(upto(6, 0), durable=upto(4, 0))) == [upto(4, 0), upto(6, 0)]
        box.extend(rows(1), upto(2, 0))
        box.extend(rows(2), upto(4, 0))
        assert box.examples == 0
        box.extend(rows(5), upto(6, 0))
        box.reach()
        assert (box.examples, box.unsent) == (1, 0)
        assert self.replayed(box, upto(8, 0)) == [(upto(6, 0), upto(8, 0), [0])]
        box.answer(told(upto(4, 0)))
        assert offered(box) == (upto(4, 0), upto(6, 0), [5])

    def test_a_checkpoint_of_all_that_is_applied_needs_one_stop(self) -> None:
        box = example_queue()
        assert box.resume(told(upto(6, 0), durable=upto(6, 0))) == [upto(6, 0)]
        box.extend(rows(1), upto(6, 0))
        box.reach()
        assert box.examples == 0
        assert self.replayed(box, upto(7, 0)) == [(upto(6, 0), upto(7, 0), [0])]

    def test_a_learner_further_back_gets_the_rest_again(self) -> None:
        box = example_queue()
        for place in (1, 2):
            box.extend(rows(place), upto(place))
            box.offer()
            box.answer(told(upto(place)))
        back = example_queue()
        back.load(box.freeze()(), TOPICS)
        assert back.can_serve(upto(1, 0))
        assert back.resume(told(upto(1, 0), durable=upto(1, 0))) == []
        assert offered(back) == (upto(1, 0), upto(2, 0), [2])

    def test_offsets_between_the_bounds_cannot_be_served(self) -> None:
        box = example_queue()
        box.extend(rows(1), upto(5, 5))
        box.close()
        assert not box.can_serve(upto(3, 5))
        assert not box.can_serve(upto(9, 1))
        assert box.can_serve(upto(5, 5)) and box.can_serve(upto(0, 0)) and box.can_serve(BEGINNING)
        assert box.can_serve(upto(7, 5))
        with pytest.raises(ProgressError):
            box.resume(told(upto(3, 5)))

    def test_a_learner_that_knows_nothing_needs_no_stop(self) -> None:
        box = example_queue()
        box.extend(rows(1), upto(5, 5))
        assert box.resume(told(BEGINNING)) == []
        assert offered(box) == (upto(0, 0), upto(5, 5), [1])


def test_joining_no_rows_gives_none_of_the_right_widths() -> None:
    none = LabelledRows.join([NOTHING, NOTHING], 2, 1)
    assert (none.dense.shape, none.ids.shape, len(none)) == ((0, 2), (0, 1), 0)


def test_examples_are_those_of_the_messages() -> None:
    box = example_queue()
    box.extend(rows(3), upto(1, 0))
    assert isinstance(box.offer(), Examples)
