from hypothesis import example, given, settings
from hypothesis import strategies as st

from freshrank.feature_actors.aggregations.windowed.rings import quotient


@given(st.integers(0, 2**53 - 1), st.integers(1, 2**40))
@example(2**53 - 1, 3)
@example(7_406_454_358_055_947, 2_834)  # the product is rounded up to the next integer
@settings(max_examples=500)
def test_a_quotient_by_reciprocal_is_that_of_a_division(number: int, divisor: int) -> None:
    assert quotient(number, divisor, 1.0 / divisor) == number // divisor


@given(st.integers(1, 2**26), st.integers(1, 2**26), st.integers(-1, 1))
@settings(max_examples=500)
def test_it_is_exact_beside_multiples_too(divisor: int, times: int, beside: int) -> None:
    number = divisor * times + beside
    assert quotient(number, divisor, 1.0 / divisor) == number // divisor
