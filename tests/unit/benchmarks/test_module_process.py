import asyncio
import os
from pathlib import Path

import pytest

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.module_process import run_module, run_until_cancelled


def test_standard_input_reaches_the_module_and_its_output_comes_back() -> None:
    assert run_module("json.tool", ["--compact"], 60.0, b'{"a":  1}') == b'{"a":1}\n'


def test_a_module_that_fails_is_named_with_its_error() -> None:
    with pytest.raises(Unavailable, match=r"(?s)^json\.tool: .*Expecting value"):
        run_module("json.tool", [], 60.0, b"no JSON")


def test_a_module_that_does_not_end_is_ended() -> None:
    with pytest.raises(Unavailable, match=r"not finished after 0\.01 s"):
        run_module("timeit", ["while True: pass"], 0.01)


def test_the_process_of_a_cancelled_task_ends_with_it(tmp_path: Path) -> None:
    script, pipe = tmp_path / "server.py", tmp_path / "pipe"
    script.write_text("import os, sys, time\nopen(sys.argv[1], 'w').write(str(os.getpid()))\n")
    with script.open("a") as file:
        file.write("time.sleep(600)\n")
    os.mkfifo(pipe)

    async def cancelled() -> int:
        running = asyncio.create_task(run_until_cancelled(script, [str(pipe)]))
        number = int(await asyncio.to_thread(pipe.read_text))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return number

    number = asyncio.run(cancelled())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_script_that_fails_ends_its_task_with_its_error(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("raise SystemExit('no broker')\n")
    with pytest.raises(Unavailable, match=r"server\.py quick: no broker"):
        asyncio.run(run_until_cancelled(script, ["quick"]))
