"""The one way to compile a kernel, so that all of them share cache and options."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code on its first call, and cache it on disk.

    The cache lies beside the source file, or in the user's cache directory where that is
    read-only. The GIL is released while a kernel runs.
    """
    return cast(Callable[P, R], numba.njit(cache=True, nogil=True)(function))
