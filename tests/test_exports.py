"""The public names: what a user may import from `freshrank`, all of it and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import freshrank


def declared() -> dict[str, str]:
    """What type checkers are told: each name, and the module that it is imported from."""
    source = ast.parse(Path(freshrank.__file__).read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("freshrank.")
        for alias in node.names
    }


def test_what_is_listed_is_what_type_checkers_see() -> None:
    # The order of the list is the linter's business (RUF022).
    assert len(freshrank.__all__) == len(set(freshrank.__all__))
    assert set(freshrank.__all__) == declared().keys()


@pytest.mark.parametrize("name", freshrank.__all__)
def test_a_public_name_is_what_its_module_calls_so_and_is_documented(name: str) -> None:
    value = getattr(freshrank, name)
    assert value is getattr(sys.modules[declared()[name]], name)
    assert value.__doc__


def test_nothing_else_is_public() -> None:
    misspelt = "FeatureVeiw"
    with pytest.raises(AttributeError, match=f"no attribute {misspelt!r}"):
        getattr(freshrank, misspelt)


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, freshrank; print({'ray', 'torch', 'numba', 'numpy'} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "set()"
