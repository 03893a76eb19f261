"""The fields of a stream's schema, their kinds, and errors that say how to mend a mistake."""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec
from msgspec import inspect

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.feature_actors.streams.keys.compound_key import is_compound, key_parts
from freshrank.feature_actors.streams.schema.described import LISTS, within_itself, without_none
from freshrank.feature_actors.streams.schema.field_errors import (
    check_name,
    has_default,
    many_values,
    may_be_none,
    two_lists,
    unusable,
)
from freshrank.feature_actors.streams.schema.schema_check import check_schema


class Kind(Enum):
    """The kind of a field's values; the enum's value is their Python type."""

    TEXT = str
    INTEGER = int
    NUMBER = float


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a schema that features may use."""

    name: str
    kind: Kind
    optional: bool = False
    """Whether it may be None."""
    boolean: bool = False
    """Whether it is a bool: an integer of 0 or 1."""
    choices: tuple[str | int, ...] = ()
    """Its possible values, where the schema lists them (a Literal); else ()."""
    each: str = ""
    """The list, by its path, each element of which has a value; "" where an event has one value."""

    @property
    def type(self) -> type:
        """The type of its values in JSON: str, int, float or bool."""
        return bool if self.boolean else self.kind.value


class Moment(NamedTuple):
    """A field that is a `datetime`: an event time may be, and nothing else that features use."""

    zoned: bool | None
    """Whether each has a zone (True), none has (False), or some may (None)."""
    optional: bool
    """Whether it may be None."""


class _Within(NamedTuple):
    """The struct whose fields are taken."""

    prefix: str = ""
    """Of the names of its fields: ``"device."``."""
    json_path: tuple[str, ...] = ()
    optional: bool = False
    """Whether it may be None, or lies in one that may."""
    each: str = ""
    """The list whose elements are such structs."""


class Fields(Mapping[str, Field]):
    """The usable fields of a schema, by name; those of a struct in it by path (``device.os``).

    Usable types are str, int, float, bool (an integer of 0 or 1), Literals of one of them, and
    each of them ``| None``. A schema may hold others: they are checked when a record is
    decoded, and are a ConfigError only where a feature wants them. A field of a struct that may be
    None may be None.

    The name of a compound key (``user+category``) stands for the text of its fields together; it is
    looked up, and not listed. So are the fields of the elements of a list (``items.price``, or
    ``tags`` of a list of texts), of which an event has any number: only `with_elements` lists them,
    and lets a feature name them.

    >>> class Device(msgspec.Struct):
    ...     os: str
    >>> class Play(msgspec.Struct):
    ...     song: str
    ...     device: Device | None = None
    >>> fields = Fields(Play, "plays")
    >>> list(fields), fields["device.os"].optional
    (['song', 'device.os'], True)
    >>> class Order(msgspec.Struct):
    ...     order_id: str
    ...     items: list[Device]
    >>> list(Fields(Order, "orders")), list(Fields(Order, "orders").with_elements)
    (['order_id'], ['order_id', 'items.os'])
    """

    def __init__(self, schema: type[msgspec.Struct], place: str) -> None:
        if not (isinstance(schema, type) and issubclass(schema, msgspec.Struct)):
            raise ConfigError(
                place, f"{schema!r} is not a schema", "Declare a class of msgspec.Struct."
            )
        described = inspect.type_info(schema)
        if not isinstance(described, inspect.StructType):
            raise ConfigError(place, f"{schema!r} cannot be read", "Make it a plain Struct.")
        check_schema(described, place)
        self._place = place
        self._known: dict[str, Field] = {}
        self._of_elements: dict[str, Field] = {}
        self._with_elements = False
        self._json_paths: dict[str, tuple[str, ...]] = {}
        # By its name in JSON, as of ``rename="camel"``: the name in the schema, which is used here.
        self._renamed: dict[str, str] = {}
        self._unusable: dict[str, str] = {}
        self._moments: dict[str, Moment] = {}
        given = [field for field in described.fields if not field.required]
        self._with_default = {field.name for field in given if field.default is not None}
        self._take(described, _Within())

    @property
    def with_elements(self) -> "Fields":
        """The same, for what can take any number of values of an event: aggregates of a view."""
        found = copy.copy(self)
        vars(found)["_with_elements"] = True
        return found

    def list_of(self, names: Collection[str], place: str) -> str:
        """The list whose elements have values of the fields `names`; "" where events have them all.

        Raises ConfigError where the fields are of two lists: their elements do not go together.
        """
        lists = {self[name].each: name for name in sorted(names) if self[name].each}
        if len(lists) > 1:
            raise two_lists(list(lists.values()), place)
        return next(iter(lists), "")

    def choices_in_json(self) -> dict[str, tuple[str | int, ...]]:
        """By path in the JSON of an event: the values of each field whose type lists them.

        A list has ``[]`` behind its name.
        """
        found: dict[str, tuple[str | int, ...]] = {}
        for name, one in (self._known | self._of_elements).items():
            path = list(self._json_paths[name])
            if one.each:
                path[one.each.count(".")] += "[]"
            if one.choices:
                found[".".join(path)] = one.choices
        return found

    def _take(self, struct: inspect.StructType, within: _Within) -> None:
        """Take the fields of a struct, and of the structs in it."""
        for field in struct.fields:
            name, path = within.prefix + field.name, (*within.json_path, field.encode_name)
            if field.encode_name != field.name:
                self._renamed[within.prefix + field.encode_name] = name
            plain, optional = without_none(field.type)
            optional, each = optional or within.optional, within.each
            self._json_paths[name] = path
            if isinstance(plain, inspect.DateTimeType) and not each:
                self._moments[name] = Moment(plain.tz, optional)
            if isinstance(plain, LISTS) and not each:
                plain, optional = without_none(plain.item_type)
                each = name
            self._take_one(name, plain, _Within(f"{name}.", path, optional, each))

    def _take_one(self, name: str, plain: inspect.Type, within: _Within) -> None:
        """Take a field, or what an element of a list is; `within` is for the fields in it."""
        kind, each = _kind(plain), within.each
        if kind is not None:
            boolean = isinstance(plain, inspect.BoolType)
            field = Field(name, kind, within.optional, boolean, _choices(plain), each)
            (self._of_elements if each else self._known)[name] = field
            return
        unusable = type(plain).__name__.removesuffix("Type").lower()
        self._unusable[name] = "list" if each == name else unusable
        if isinstance(plain, inspect.StructType) and not within_itself(plain):
            self._take(plain, within)

    def __getitem__(self, name: str) -> Field:
        if not is_compound(name):
            return self._known[name] if name in self._known else self._of_elements[name]
        optional = any(self._known[part].optional for part in key_parts(name))
        return Field(name, Kind.TEXT, optional)

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._listed())

    def _listed(self) -> Mapping[str, Field]:
        return self._known | self._of_elements if self._with_elements else self._known

    def require(self, name: str, place: str, *kinds: Kind) -> Field:
        """The field `name`, of one of `kinds` (any when none is given), or a ConfigError."""
        check_name(name, place)
        found = self._known.get(name)
        if found is None and self._with_elements:
            found = self._of_elements.get(name)
        if found is None:
            if not is_compound(name):
                raise self._unknown(name, place)
            return self.require_parts(name, place)
        if kinds and found.kind not in kinds:
            wanted = " or ".join(kind.value.__name__ for kind in kinds)
            kind = f"{'a list of ' if found.each == name else ''}{found.kind.value.__name__}"
            listed = ", or a list of them" if self._with_elements else ""
            raise ConfigError(
                place, f"the field {name!r} is {kind}", f"Name a field of {wanted}{listed}."
            )
        return found

    def _unknown(self, name: str, place: str) -> ConfigError:
        """Why `name` is no field that may be named here."""
        if name in self._unusable:
            inner = [one for one in self._json_paths if one.startswith(f"{name}.") and one in self]
            return unusable(name, self._unusable[name], inner, place, lists=self._with_elements)
        if name in self._of_elements:
            return many_values(name, self._of_elements[name].each, place)
        meant = self._renamed.get(name, name)
        if self._unusable.get(name.partition(".")[0], "struct") not in ("struct", "list"):
            meant = ""
        fix = did_you_mean(meant, self, "It has:")
        return ConfigError(place, f"{self._place} has no field {name!r}", fix)

    def require_parts(self, name: str, place: str) -> Field:
        """The key `name` of an entity, of one field or several, which events may lack."""
        for part in key_parts(name):
            found = self.require_own(part, place, Kind.TEXT, Kind.INTEGER)
            if found.boolean:
                raise ConfigError(place, f"the field {part!r} is a bool", "Name a str or an int.")
            if part in self._with_default:
                raise has_default(part, place)
        return self[name]

    def json_path(self, name: str) -> tuple[str, ...]:
        """The names in JSON that lead to the field `name`."""
        return self._json_paths[name]

    def require_own(self, name: str, place: str, *kinds: Kind) -> Field:
        """As `require`, for a field of the event itself: none of a struct in it."""
        found = self.require(name, place, *kinds)
        if found.each:
            raise many_values(name, found.each, place)
        if len(self._json_paths.get(name, ())) > 1:
            raise ConfigError(
                place,
                f"{name!r} is a field of a field",
                "Name a field of the event itself.",
            )
        return found

    def require_mandatory(self, name: str, place: str, *kinds: Kind) -> Field:
        """As `require_own`, where each event has to have a value: of id, time, key."""
        found = self.require_own(name, place, *kinds)
        self._require_value(name, found, place)
        if found.boolean:
            raise ConfigError(place, f"the field {name!r} is a bool", "Name a field of str or int.")
        return found

    def moment(self, name: str, place: str) -> Moment | None:
        """The field `name` where it is a mandatory `datetime`. Raises ConfigError where not so."""
        check_name(name, place)
        found = self._moments.get(name)
        if found is not None:
            self._require_value(name, found, place)
        return found

    def _require_value(self, name: str, found: Field | Moment, place: str) -> None:
        """Raise ConfigError where an event may lack the field."""
        if found.optional:
            raise may_be_none(name, place)
        if name in self._with_default:
            raise has_default(name, place)


def _choices(described: inspect.Type) -> tuple[str | int, ...]:
    if not isinstance(described, inspect.LiteralType):
        return ()
    return tuple(one for one in described.values if isinstance(one, str | int))


def _kind(described: inspect.Type) -> Kind | None:
    """The kind of a described type; None: unusable."""
    if isinstance(described, inspect.LiteralType):
        kinds = {type(value) for value in described.values}
        return {frozenset({str}): Kind.TEXT, frozenset({int}): Kind.INTEGER}.get(frozenset(kinds))
    if isinstance(described, inspect.StrType):
        return Kind.TEXT
    if isinstance(described, inspect.IntType | inspect.BoolType):
        return Kind.INTEGER
    return Kind.NUMBER if isinstance(described, inspect.FloatType) else None
