"""Decorators that compile kernels, so that all kernels share their options and their cache."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

from freshrank.actors.kernels.cache import cache_folder

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_FOLDER = cache_folder()
if _FOLDER is None:
    _log.warning(
        "no folder for compiled kernels can be written to, so every process compiles them: "
        "set NUMBA_CACHE_DIR to a folder that can be written to"
    )

# No counting of references to arrays. It is atomic, and costs small functions that take arrays for
# every event more than their work. (An option that numba's types leave out.)
_UNCOUNTED: dict[str, Any] = {"_nrt": False}


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code on its first call, and cache it on disk.

    The cache is `freshrank.actors.kernels.cache.cache_folder`. The GIL is released while a kernel
    runs.
    """
    return _cached(function)


def lean_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, without reference counts.

    For code that makes no array and calls only lean kernels and subkernels.
    """
    return _cached(function, **_UNCOUNTED)


def subkernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part of lean kernels: it is cached as part of the kernels that call it.

    It may be a closure over other subkernels, which numba cannot cache by itself: in this way a
    loop is compiled for several operations.
    """
    return cast(Callable[P, R], numba.njit(nogil=True, **_UNCOUNTED)(_with_own_name(function)))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `subkernel` does, but copied into each caller before that is compiled.

    For a few lines with a caller or two: it saves the separate compilation of the function, a sixth
    of the time where kernels are made of many small functions.
    """
    compiled = numba.njit(nogil=True, inline="always", **_UNCOUNTED)(function)
    return cast(Callable[P, R], compiled)


def _with_own_name(function: Callable[P, R]) -> Callable[P, R]:
    """Give a closure a name that no other function has, in this process or another.

    Numba's linker joins functions of one symbol, and takes a function's symbol from its qualified
    name and from how many functions its process had compiled before. Closures made by one function
    share the name; two processes that compile in different orders share the number. Kernels from
    the cache would then call each other's closures.
    """
    if function.__closure__ is not None:
        function.__qualname__ += f"_{uuid.uuid4().hex[:12]}"
    return function


def _cached(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    if _FOLDER is None:
        return cast(Callable[P, R], numba.njit(nogil=True, **options)(function))
    # Numba reads the setting while it wraps a function. Other packages' kernels keep their own.
    config = vars(numba.config)  # numba's types leave the setting out
    before, config["CACHE_DIR"] = config["CACHE_DIR"], str(_FOLDER)
    try:
        return cast(Callable[P, R], numba.njit(nogil=True, cache=True, **options)(function))
    finally:
        config["CACHE_DIR"] = before
