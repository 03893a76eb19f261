"""The one way to compile a kernel, so that all of them share cache and options."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code on its first call, and cache it on disk.

    The cache lies beside the source file, or in the user's cache directory where that is
    read-only. The GIL is released while a kernel runs.
    """
    return cast(Callable[P, R], numba.njit(cache=True, nogil=True)(function))


# An option of numba's that its own types leave out.
_UNCOUNTED: dict[str, Any] = {"_nrt": False}


def lean_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, for code that makes no array and calls only its like.

    Nothing counts references to arrays then. The counting is atomic, and for small functions that
    are called with arrays once an event it costs more than what they do.
    """
    compiled = numba.njit(cache=True, nogil=True, **_UNCOUNTED)(function)
    return cast(Callable[P, R], compiled)
