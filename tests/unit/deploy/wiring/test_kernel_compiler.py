"""Kernels are compiled before the first run of a version."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from freshrank.actors.kernels import cache
from freshrank.deploy.wiring.kernel_compiler import compile_kernels


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))


def compiler(program: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; {program}"]


def test_a_line_is_logged_for_each_step_of_the_compiler() -> None:
    lines: list[str] = []
    program = "print('a warning', file=sys.stderr); print('compiling 1/2 ok', file=sys.stderr)"
    asyncio.run(compile_kernels(lines.append, compiler(program)))
    assert lines == ["compiling kernels, once for this version: about a minute", "compiling 1/2 ok"]


def test_nothing_is_compiled_where_the_cache_is_complete() -> None:
    lines: list[str] = []
    cache.mark_complete()
    asyncio.run(compile_kernels(lines.append, compiler("sys.exit(1)")))
    assert lines == []


def test_a_compiler_that_fails_is_told_with_its_last_line() -> None:
    lines: list[str] = []
    asyncio.run(compile_kernels(lines.append, compiler("sys.exit('no space left')")))
    assert lines[1:] == [
        "the kernels were not compiled, each will be when it is first used: no space left"
    ]


def test_the_compiler_ends_when_the_run_is_stopped() -> None:
    async def stop_while_it_compiles() -> None:
        compiling = asyncio.Event()

        def log(line: str) -> None:
            if line == "compiling 1/2":
                compiling.set()

        program = "import signal; print('compiling 1/2', file=sys.stderr, flush=True); "
        running = asyncio.create_task(compile_kernels(log, compiler(program + "signal.pause()")))
        await compiling.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(stop_while_it_compiles(), 60.0))
