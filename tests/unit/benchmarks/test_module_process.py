import pytest

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.module_process import run_module


def test_standard_input_reaches_the_module_and_its_output_comes_back() -> None:
    assert run_module("json.tool", ["--compact"], 60.0, b'{"a":  1}') == b'{"a":1}\n'


def test_a_module_that_fails_is_named_with_its_error() -> None:
    with pytest.raises(Unavailable, match=r"(?s)^json\.tool: .*Expecting value"):
        run_module("json.tool", [], 60.0, b"no JSON")


def test_a_module_that_does_not_end_is_ended() -> None:
    with pytest.raises(Unavailable, match=r"not finished after 0\.01 s"):
        run_module("timeit", ["while True: pass"], 0.01)
