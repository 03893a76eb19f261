"""The JSON of rows, made of that of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

# What a text of JSON cannot hold as it is.
_ESCAPED = r'["\\\x00-\x1f]'


def column_as_json(arrow: Any, column: Any) -> Any:
    """Return the values of a column as JSON; None where that takes more than their texts."""
    types, compute = arrow.types, arrow.compute
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind):
        if compute.any(compute.match_substring_regex(column, _ESCAPED)).as_py():
            return None
        texts = compute.binary_join_element_wise('"', column.cast(arrow.string()), '"', "")
    elif types.is_floating(kind):
        if not compute.all(compute.is_finite(column)).as_py():
            return None
        texts = column.cast(arrow.string())
    elif types.is_integer(kind) or types.is_boolean(kind):
        texts = column.cast(arrow.string())
    else:
        return None
    return compute.fill_null(texts, "null") if column.null_count else texts


def joined_as_json(arrow: Any, names: Sequence[str], texts: Sequence[Any]) -> list[bytes]:
    """Return the JSON of rows, by that of their columns: no value is a step of Python."""
    parts: list[Any] = []
    for name, column in zip(names, texts, strict=True):
        key = msgspec.json.encode(name).decode()
        parts += [f"{',' if parts else '{'}{key}:", column]
    rows = arrow.compute.binary_join_element_wise(*parts, "}", "")
    found: list[bytes] = rows.cast(arrow.binary()).to_pylist()
    return found
