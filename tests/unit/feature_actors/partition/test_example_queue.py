import numpy as np
import pytest
from source_offsets import upto

from freshrank.actors.errors import IllegalTransition, ProgressError
from freshrank.actors.messages import BEGINNING, Examples, Inputs, SourceOffsets, Version
from freshrank.actors.protocols import Progress
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.partition.example_queue import (
    RANGE_EXAMPLES,
    TRANSITIONS,
    ExampleQueue,
    QueueEvent,
    QueueState,
)


def rows(*order: int) -> LabelledRows:
    places = np.array(order, dtype=np.int64)
    dense = np.stack([places, places * 2], axis=1).astype(np.float32)
    inputs, labels = Inputs(dense, places.reshape(-1, 1) * 3), (places % 2).astype(np.float32)
    return LabelledRows.not_served(places, inputs, labels, places * 1_000)


TOPICS = ["events", "shown"]
NOTHING = LabelledRows.none(2, 1)


def example_queue(begin: SourceOffsets = BEGINNING) -> ExampleQueue:
    return ExampleQueue(4, TOPICS, dense_width=2, id_width=1, begin=begin)


def told(
    applied: SourceOffsets, durable: SourceOffsets = BEGINNING, accepted: bool = True
) -> Progress:
    return Progress(accepted, False, applied, durable, Version(1, 1))


def offered(queue: ExampleQueue) -> tuple[SourceOffsets, SourceOffsets, list[int]] | None:
    examples = queue.peek()
    if examples is None:
        return None
    assert examples.offset_range.partition == 4
    places = examples.inputs.dense[:, 0].astype(np.int64)
    assert examples.inputs.ids[:, 0].tolist() == (places * 3).tolist()
    assert examples.labels.tolist() == (places % 2).tolist()
    assert examples.event_times_ms.tolist() == (places * 1_000).tolist()
    return examples.offset_range.begin, examples.offset_range.end, places.tolist()


def test_examples_of_a_span_stand_in_the_order_of_the_log() -> None:
    queue = example_queue()
    queue.extend(rows(5, 2), upto(3, 0))
    queue.extend(rows(1), upto(4, 2))
    assert offered(queue) == (upto(0, 0), upto(4, 2), [1, 2, 5])


def test_a_span_keeps_its_bounds_until_it_is_applied() -> None:
    queue = example_queue()
    queue.extend(rows(1), upto(2, 0))
    assert offered(queue) == (upto(0, 0), upto(2, 0), [1])
    queue.extend(rows(2), upto(3, 0))
    assert offered(queue) == (upto(0, 0), upto(2, 0), [1])
    queue.acknowledge(told(upto(2, 0)))
    assert offered(queue) == (upto(2, 0), upto(3, 0), [2])
    queue.acknowledge(told(upto(3, 0)))
    assert queue.peek() is None


def test_the_first_span_that_is_kept_says_so() -> None:
    queue = example_queue()
    for place in (1, 2):
        queue.extend(rows(place), upto(place))
        queue.close()
    first = queue.peek()
    assert first is not None and first.offset_range.first
    queue.acknowledge(told(upto(1, 0)))
    second = queue.peek()
    assert second is not None and not second.offset_range.first
    queue.acknowledge(told(upto(1, 0), durable=upto(1, 0)))  # the one before it is forgotten
    second = queue.peek()
    assert second is not None and second.offset_range.first


def test_where_the_next_span_ends_is_known_before_it_is_offered() -> None:
    queue = example_queue()
    queue.extend(NOTHING, upto(1, 0))
    ends = [queue.next_end]
    queue.extend(rows(1), upto(2, 0))
    ends.append(queue.next_end)
    queue.close()
    queue.extend(rows(2), upto(3, 0))
    ends.append(queue.next_end)
    queue.acknowledge(told(upto(2, 0)))
    ends.append(queue.next_end)
    assert ends == [None, upto(2, 0), upto(2, 0), upto(3, 0)]


def test_offsets_without_examples_are_not_offered_but_covered_by_the_next_span() -> None:
    queue = example_queue()
    queue.extend(NOTHING, upto(5, 5))
    assert queue.peek() is None
    queue.extend(rows(9), upto(6, 5))
    assert offered(queue) == (upto(0, 0), upto(6, 5), [9])


def test_examples_are_kept_until_they_are_durable_and_then_forgotten() -> None:
    queue = example_queue()
    for place in (1, 2, 3):
        queue.extend(rows(place), upto(place))
        queue.peek()
        queue.acknowledge(told(upto(place)))
    assert (queue.examples, queue.unsent) == (3, 0)
    queue.acknowledge(told(upto(3, 0), durable=upto(2, 0)))
    assert (queue.examples, queue.unsent) == (1, 0)
    assert queue.nbytes > 0
    queue.acknowledge(told(upto(2, 0), durable=upto(2, 0)))  # it came back from its checkpoint
    assert offered(queue) == (upto(2, 0), upto(3, 0), [3])
    assert queue.unsent == 1


def test_a_learner_that_knows_nothing_gets_all_that_is_kept() -> None:
    queue = example_queue(upto(7, 7))
    queue.extend(rows(1), upto(8, 7))
    queue.peek()
    queue.acknowledge(told(upto(8, 7)))
    queue.acknowledge(told(BEGINNING))
    assert offered(queue) == (upto(7, 7), upto(8, 7), [1])


@pytest.mark.parametrize("applied", [upto(1, 1), upto(9, 9)])
def test_offsets_that_are_no_bound_are_an_error_that_names_it(applied: SourceOffsets) -> None:
    queue = example_queue()
    queue.extend(rows(1), upto(2, 2))
    queue.peek()
    with pytest.raises(
        ProgressError, match=rf"partition 4: .* up to \(events {applied['events']}, "
    ):
        queue.acknowledge(told(applied))


def test_a_span_that_grows_long_is_closed() -> None:
    queue = example_queue()
    queue.extend(rows(*range(RANGE_EXAMPLES)), upto(1, 0))
    queue.extend(rows(RANGE_EXAMPLES), upto(2, 0))
    first = queue.peek()
    assert first is not None and (first.offset_range.end, len(first)) == (
        upto(1, 0),
        RANGE_EXAMPLES,
    )
    queue.acknowledge(told(upto(1, 0)))
    assert offered(queue) == (upto(1, 0), upto(2, 0), [RANGE_EXAMPLES])


def test_arrays_bring_an_outbox_back_with_the_bounds_of_its_spans() -> None:
    queue = example_queue()
    queue.extend(rows(1), upto(1, 0))
    queue.peek()
    queue.extend(rows(4, 2), upto(2, 3))
    back = example_queue()
    back.load({name: one.copy() for name, one in queue.freeze()().items()}, TOPICS)
    assert back.examples == 3
    assert offered(back) == (upto(0, 0), upto(1, 0), [1])
    back.extend(NOTHING, upto(5, 5))
    back.acknowledge(told(upto(1, 0)))
    assert offered(back) == (upto(1, 0), upto(5, 5), [2, 4])


class TestResume:
    def replayed(
        self, queue: ExampleQueue, *ends: SourceOffsets
    ) -> list[tuple[SourceOffsets, SourceOffsets, list[int]]]:
        """What is offered after reading on through `ends`, one example each."""
        for place, end in enumerate(ends):
            queue.extend(rows(place), end)
        found = []
        while (one := offered(queue)) is not None:
            found.append(one)
            queue.acknowledge(told(one[1]))
        return found

    def test_what_is_durable_is_not_kept_and_what_is_applied_is_kept_as_sent(self) -> None:
        queue = example_queue()
        queue.resume(told(upto(6, 0), durable=upto(4, 0)))
        assert (queue.state, queue.stop) == (QueueState.DISCARDING, upto(4, 0))
        assert queue.replay_target == upto(6, 0)
        queue.extend(rows(1), upto(2, 0))
        queue.extend(rows(2), upto(4, 0))
        assert queue.examples == 0
        queue.extend(rows(5), upto(6, 0))
        assert (queue.examples, queue.unsent) == (1, 0)
        assert self.replayed(queue, upto(8, 0)) == [(upto(6, 0), upto(8, 0), [0])]
        queue.acknowledge(told(upto(4, 0)))
        assert offered(queue) == (upto(4, 0), upto(6, 0), [5])

    def test_a_checkpoint_of_all_that_is_applied_needs_one_stop(self) -> None:
        queue = example_queue()
        queue.resume(told(upto(6, 0), durable=upto(6, 0)))
        assert (queue.state, queue.stop) == (QueueState.DISCARDING, upto(6, 0))
        queue.extend(rows(1), upto(6, 0))
        assert queue.examples == 0
        assert self.replayed(queue, upto(7, 0)) == [(upto(6, 0), upto(7, 0), [0])]

    def test_a_learner_further_back_gets_the_rest_again(self) -> None:
        queue = example_queue()
        for place in (1, 2):
            queue.extend(rows(place), upto(place))
            queue.peek()
            queue.acknowledge(told(upto(place)))
        back = example_queue()
        back.load(queue.freeze()(), TOPICS)
        back.resume(told(upto(1, 0), durable=upto(1, 0)))
        assert (back.state, back.stop) == (QueueState.LIVE, None)
        assert offered(back) == (upto(1, 0), upto(2, 0), [2])

    @pytest.mark.parametrize("applied", [upto(3, 5), upto(9, 1)])
    def test_a_learner_between_the_bounds_cannot_be_served(self, applied: SourceOffsets) -> None:
        queue = example_queue()
        queue.extend(rows(1), upto(5, 5))
        queue.close()
        with pytest.raises(ProgressError, match="no bound of a range"):
            queue.resume(told(applied))

    @pytest.mark.parametrize("applied", [BEGINNING, upto(5, 5)])
    def test_a_learner_at_a_bound_is_served_at_once(self, applied: SourceOffsets) -> None:
        queue = example_queue()
        queue.extend(rows(1), upto(5, 5))
        queue.close()
        queue.resume(told(applied))
        assert (queue.state, queue.stop) == (QueueState.LIVE, None)

    def test_a_learner_that_is_further_is_caught_up_with_first(self) -> None:
        queue = example_queue()
        queue.extend(rows(1), upto(5, 5))
        queue.resume(told(upto(7, 5)))
        assert (queue.state, queue.stop) == (QueueState.REBUILDING, upto(7, 5))
        queue.extend(rows(2), upto(7, 5))
        assert (queue.state, queue.examples, queue.unsent) == (QueueState.LIVE, 2, 0)

    def test_a_learner_at_the_end_of_the_open_range_has_been_caught_up_with(self) -> None:
        queue = example_queue()
        queue.extend(rows(1), upto(5, 5))
        queue.resume(told(upto(5, 5)))
        assert (queue.state, queue.stop) == (QueueState.LIVE, None)
        assert (queue.examples, queue.unsent) == (1, 0)
        assert self.replayed(queue, upto(6, 5)) == [(upto(5, 5), upto(6, 5), [0])]

    def test_a_learner_that_knows_nothing_needs_no_stop(self) -> None:
        queue = example_queue()
        queue.extend(rows(1), upto(5, 5))
        queue.resume(told(BEGINNING))
        assert queue.stop is None
        assert offered(queue) == (upto(0, 0), upto(5, 5), [1])


def test_joining_no_rows_gives_none_of_the_right_widths() -> None:
    none = LabelledRows.join([NOTHING, NOTHING], 2, 1)
    assert (none.dense.shape, none.ids.shape, len(none)) == ((0, 2), (0, 1), 0)


def test_examples_are_those_of_the_messages() -> None:
    queue = example_queue()
    queue.extend(rows(3), upto(1, 0))
    assert isinstance(queue.peek(), Examples)


def replaying(durable: SourceOffsets) -> ExampleQueue:
    """A queue with an example, whose learner has applied more."""
    queue = example_queue()
    queue.extend(rows(1), upto(2))
    queue.resume(told(upto(9), durable=durable))
    return queue


@pytest.mark.parametrize("durable", [upto(1), upto(5)], ids=["rebuilding", "discarding"])
def test_a_replay_that_is_under_way_is_not_begun_again(durable: SourceOffsets) -> None:
    queue = replaying(durable)
    before = queue.state, queue.stop, queue.replay_target, queue.examples
    with pytest.raises(IllegalTransition, match="REPLAY_TO"):
        queue.resume(told(upto(11), durable=upto(10)))
    assert (queue.state, queue.stop, queue.replay_target, queue.examples) == before
    assert before[0] is not QueueState.LIVE


def test_each_state_of_a_queue_is_left_and_nothing_but_a_replay_leaves_live() -> None:
    assert set(TRANSITIONS) == set(QueueState)
    assert all(state not in TRANSITIONS[state].values() for state in QueueState)
    assert QueueEvent.CAUGHT_UP not in TRANSITIONS[QueueState.LIVE]
