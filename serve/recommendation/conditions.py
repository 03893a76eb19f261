"""The conditions of a request on the fields of the catalogue: their types, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args

import msgspec

from freshrank.actors.features.retrieval import Comparison, Filter

MOST_VALUES = 100
"""Values of one list. Each is compared with every item of the catalogue."""
_MOST_CHARACTERS = 256

_TYPES: Mapping[type, Any] = {
    str: Annotated[str, msgspec.Meta(max_length=_MOST_CHARACTERS)],
    int: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    float: float,
    # Features have 1 and 0 for them.
    bool: bool | Literal[0, 1],
}
_NAMES: Mapping[type, str] = {str: "Text", int: "Integer", float: "Number", bool: "Bool"}

_COMPARISONS: Sequence[Comparison] = get_args(Comparison)
_OF_LISTS: Sequence[Comparison] = ("in", "not_in")
_OF_SIZE: Sequence[Comparison] = ("lt", "le", "gt", "ge")


class _Values(NamedTuple):
    """What a field of the catalogue may be compared with."""

    kind: type
    listed: bool
    """Whether the field is a list of them."""
    choices: tuple[str | int, ...]
    """All that there are; (): any of `kind`."""


class Conditions:
    """The type of the ``filters`` of a request, which has a field for each of the catalogue.

    So their number is bounded by that of the catalogue's fields. A value that a field cannot have,
    because its type lists those that it can have, is an error as one of another type is: nothing
    would be found, and no one told why.

    >>> conditions = Conditions({"price": float, "brand": str})
    >>> given = msgspec.json.decode(b'{"price": {"ge": 5, "lt": 9}}', type=conditions.type)
    >>> for one in conditions.filters(given):
    ...     print(one)
    Filter(field='price', comparison='lt', value=9.0)
    Filter(field='price', comparison='ge', value=5.0)
    """

    def __init__(
        self,
        fields: Mapping[str, type],
        lists: Mapping[str, type] | None = None,
        choices: Mapping[str, Sequence[str | int]] | None = None,
    ) -> None:
        of = {
            name: _Values(kind, listed, tuple((choices or {}).get(name, ())))
            for listed, kinds in ((False, fields), (True, lists or {}))
            for name, kind in kinds.items()
        }
        bools = [name for name, one in of.items() if one.kind is bool]
        self._choices = {**(choices or {}), **dict.fromkeys(bools, ("true", "false"))}
        # In the document, types of two kinds need two names.
        by_kind = {
            one: _condition(one, str(number) if one.choices else "")
            for number, one in enumerate(dict.fromkeys(of.values()))
        }
        self.attributes = {name: f"field_{number}" for number, name in enumerate(of)}
        """By field of the catalogue: what it is called in types, where any name is allowed."""
        self._known = {name: comparisons(one.kind, one.listed) for name, one in of.items()}
        self.type = msgspec.defstruct(
            "Filters",
            [
                _optional(attribute, name, by_kind[of[name]])
                for name, attribute in self.attributes.items()
            ],
            forbid_unknown_fields=True,
            frozen=True,
        )

    def filters(self, given: msgspec.Struct) -> tuple[Filter, ...]:
        """What a decoded value of `type` asks for."""
        found = list[Filter]()
        for name, attribute in self.attributes.items():
            value = getattr(given, attribute)
            if isinstance(value, msgspec.Struct):
                found += [
                    Filter(name, comparison, compared)
                    for comparison in self._known[name]
                    if (compared := getattr(value, f"{comparison}_")) is not msgspec.UNSET
                ]
            elif value is not msgspec.UNSET:
                found.append(Filter(name, "in" if isinstance(value, list) else "eq", value))
        return tuple(found)

    def known(self, place: str) -> Sequence[str]:
        """The names that may stand at `place`, below ``filters``; empty: at ``filters`` itself."""
        return self._known.get(place, []) if place else list(self._known)

    def values(self, place: str) -> Sequence[str | int]:
        """The values that may stand at `place`, below ``filters``, where a type lists them."""
        # A field may have dots in its name, and in a condition a comparison and a place follow it.
        named = (name for name in self._choices if f"{place}[".startswith((f"{name}.", f"{name}[")))
        return self._choices[max(named, key=len)]


def comparisons(kind: type, listed: bool = False) -> list[Comparison]:
    """The comparisons that a field of a type, or a list of such, has.

    The size of a text or a bool says nothing, and a list has none.

    >>> comparisons(str)
    ['eq', 'ne', 'in', 'not_in', 'is_null']
    """
    sized = kind not in (str, bool) and not listed
    return [one for one in _COMPARISONS if sized or one not in _OF_SIZE]


def _condition(values: _Values, suffix: str) -> Any:
    """A value, a list of values, or an object with comparisons, all of which have to hold.

    The name of the object's type ends with `suffix`.
    """
    kind, of_list, choices = values
    any_of_kind = _TYPES[kind]
    one = cast(Any, Literal)[choices] if choices else any_of_kind
    listed = GenericAlias(list, (one,))
    several: Any = Annotated[listed, msgspec.Meta(max_length=MOST_VALUES)]
    types = {
        "is_null": bool,
        **dict.fromkeys(_OF_LISTS, several),
        **dict.fromkeys(_OF_SIZE, any_of_kind),
    }
    condition = msgspec.defstruct(
        f"{_NAMES[kind]}{'List' if of_list else ''}Condition{suffix}",
        [
            _optional(
                f"{name}_",
                name,
                types.get(name, one),
            )
            for name in comparisons(kind, of_list)
        ],
        forbid_unknown_fields=True,
        frozen=True,
    )
    return one | several | condition


def _optional(attribute: str, in_json: str, kind: Any) -> tuple[str, Any, Any]:
    field = msgspec.field(name=in_json, default=msgspec.UNSET)
    return attribute, kind | msgspec.UnsetType, field
