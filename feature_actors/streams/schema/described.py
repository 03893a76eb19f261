"""The types of fields, as `msgspec.inspect` describes them."""

from __future__ import annotations

from msgspec import inspect

LISTS = inspect.ListType, inspect.VarTupleType
"""The described types of lists: any number of elements of one type."""


def struct_of(described: inspect.Type) -> inspect.StructType | None:
    """The struct that a field holds, itself or in a list, or may hold beside None; else None."""
    plain, _ = without_none(described)
    if isinstance(plain, LISTS):
        plain, _ = without_none(plain.item_type)
    return plain if isinstance(plain, inspect.StructType) else None


def within_itself(struct: inspect.StructType) -> bool:
    """Whether a struct holds itself, directly or in others: its fields have paths without end."""
    seen: set[type] = set()
    open_structs = [struct]
    while open_structs:
        for field in open_structs.pop().fields:
            inner = struct_of(field.type)
            if inner is None or inner.cls in seen:
                continue
            if inner.cls is struct.cls:
                return True
            seen.add(inner.cls)
            open_structs.append(inner)
    return False


def without_none(described: inspect.Type) -> tuple[inspect.Type, bool]:
    """A described type without its None, and whether it had one."""
    if isinstance(described, inspect.UnionType):
        rest = [one for one in described.types if not isinstance(one, inspect.NoneType)]
        if len(rest) == 1:
            return rest[0], True
    return described, False
