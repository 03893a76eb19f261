"""The public names: what a user may import from `freshrank`, all of it and nothing else."""

from __future__ import annotations

import types

import freshrank


def test_the_list_of_public_names_is_complete() -> None:
    # Its order is the linter's business (RUF022).
    assert len(freshrank.__all__) == len(set(freshrank.__all__))
    namespace = {
        name
        for name, value in vars(freshrank).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(freshrank.__all__) == namespace


def test_every_public_name_is_documented_and_comes_from_this_package() -> None:
    for name in freshrank.__all__:
        value = getattr(freshrank, name)
        if isinstance(value, type):
            assert value.__module__.startswith("freshrank."), name
            assert value.__doc__, name
