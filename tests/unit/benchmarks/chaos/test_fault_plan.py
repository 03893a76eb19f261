import numpy as np

from freshrank.benchmarks.chaos.fault_plan import CONCURRENT_FAULTS, GAPS_S, fault_plans


def test_each_fault_comes_in_each_round_once_in_an_order_and_at_moments_that_the_seed_decides() -> (
    None
):
    made = fault_plans(4, np.random.default_rng(7))
    for plan, hand, (least_s, most_s) in zip(made, CONCURRENT_FAULTS, GAPS_S, strict=True):
        orders = [
            tuple(fault for _, fault in plan[begin : begin + len(hand)])
            for begin in range(0, len(plan), len(hand))
        ]
        assert len(orders) == 4 and len(set(orders)) > 1
        assert all(sorted(order, key=hand.index) == list(hand) for order in orders)
        waits = [wait_s for wait_s, _ in plan]
        assert least_s <= min(waits) < max(waits) <= most_s
    assert (
        made == fault_plans(4, np.random.default_rng(7)) != fault_plans(4, np.random.default_rng(8))
    )
