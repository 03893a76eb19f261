"""The fields of a stream's schema, their kinds, and errors that say how to mend a mistake."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec
from msgspec import inspect

from freshrank.actors.errors import ConfigError, nearest
from freshrank.feature_actors.streams.keys.compound_key import is_compound, key_parts


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


class Fields(Mapping[str, Field]):
    """The usable fields of a schema, by name; those of a struct in it by path (``device.os``).

    Usable types are str, int, float, bool (an integer of 0 or 1), Literals of one of them, and
    each of them ``| None``. A schema may hold others: they are checked when a record is
    decoded, and are a ConfigError only where a feature wants them. A field of a struct that may be
    None may be None.

    The name of a compound key (``user+category``) stands for the text of its fields together; it is
    looked up, and not listed.

    >>> class Device(msgspec.Struct):
    ...     os: str
    >>> class Play(msgspec.Struct):
    ...     song: str
    ...     device: Device | None = None
    >>> fields = Fields(Play, "plays")
    >>> list(fields), fields["device.os"].optional
    (['song', 'device.os'], True)
    """

    def __init__(self, schema: type[msgspec.Struct], place: str) -> None:
        if not (isinstance(schema, type) and issubclass(schema, msgspec.Struct)):
            raise ConfigError(
                place, f"{schema!r} is not a schema", "Declare a class of msgspec.Struct."
            )
        described = inspect.type_info(schema)
        if not isinstance(described, inspect.StructType):
            raise ConfigError(place, f"{schema!r} cannot be read", "Make it a plain Struct.")
        self._place = place
        self._known: dict[str, Field] = {}
        self._json_paths: dict[str, tuple[str, ...]] = {}
        # By its name in JSON, as of ``rename="camel"``: the name in the schema, which is used here.
        self._renamed: dict[str, str] = {}
        self._unusable: dict[str, str] = {}
        self._moments: dict[str, Moment] = {}
        self._take(described, _Within())

    def choices_in_json(self) -> dict[str, tuple[str | int, ...]]:
        """By path in the JSON of an event: the values of each field whose type lists them."""
        known = self._known.items()
        return {".".join(self._json_paths[name]): one.choices for name, one in known if one.choices}

    def _take(self, struct: inspect.StructType, within: _Within) -> None:
        """Take the fields of a struct, and of the structs in it."""
        for field in struct.fields:
            name, path = within.prefix + field.name, (*within.json_path, field.encode_name)
            if field.encode_name != field.name:
                self._renamed[within.prefix + field.encode_name] = name
            plain, optional = _without_none(field.type)
            kind, optional = _kind(plain), optional or within.optional
            if isinstance(plain, inspect.DateTimeType):
                self._moments[name] = Moment(plain.tz, optional)
            if kind is not None:
                boolean = isinstance(plain, inspect.BoolType)
                self._known[name] = Field(name, kind, optional, boolean, _choices(plain))
                self._json_paths[name] = path
                continue
            self._unusable[name] = type(plain).__name__.removesuffix("Type").lower()
            if isinstance(plain, inspect.StructType) and not within_itself(plain):
                self._take(plain, _Within(f"{name}.", path, optional))

    def __getitem__(self, name: str) -> Field:
        if not is_compound(name):
            return self._known[name]
        optional = any(self._known[part].optional for part in key_parts(name))
        return Field(name, Kind.TEXT, optional)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def require(self, name: str, place: str, *kinds: Kind) -> Field:
        """The field `name`, of one of `kinds` (any when none is given), or a ConfigError."""
        if is_compound(name):
            return self._require_compound(name, place)
        if name in self._unusable:
            raise self._unusable_error(name, place)
        if name not in self._known:
            near = nearest(name, self._known)
            if name in self._renamed:
                near = self._renamed[name]
            if self._unusable.get(name.partition(".")[0], "struct") != "struct":
                near = None
            fix = f"Did you mean {near!r}?" if near else f"It has: {', '.join(self._known)}."
            raise ConfigError(place, f"{self._place} has no field {name!r}", fix)
        found = self._known[name]
        if kinds and found.kind not in kinds:
            wanted = " or ".join(kind.value.__name__ for kind in kinds)
            raise ConfigError(
                place,
                f"the field {name!r} is {found.kind.value.__name__}",
                f"Name a field of {wanted}.",
            )
        return found

    def _require_compound(self, name: str, place: str) -> Field:
        for part in key_parts(name):
            if self.require_own(part, place, Kind.TEXT, Kind.INTEGER).boolean:
                raise ConfigError(place, f"the field {part!r} is a bool", "Name a str or an int.")
        return self[name]

    def _unusable_error(self, name: str, place: str) -> ConfigError:
        kind = self._unusable[name]
        inner = [repr(one) for one in self._known if one.startswith(f"{name}.")]
        fix = f" Its fields are {', '.join(inner)}." if inner else _UNUSABLE_FIX.get(kind, "")
        return ConfigError(
            place,
            f"features cannot use the type of the field {name!r} ({kind})",
            f"Use a field of str, int, float or bool, or one of them | None.{fix}",
        )

    def json_path(self, name: str) -> tuple[str, ...]:
        """The names in JSON that lead to the field `name`."""
        return self._json_paths[name]

    def require_own(self, name: str, place: str, *kinds: Kind) -> Field:
        """As `require`, for a field of the event itself: none of a struct in it."""
        found = self.require(name, place, *kinds)
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
        if found.optional:
            raise _may_be_none(name, place)
        if found.boolean:
            raise ConfigError(place, f"the field {name!r} is a bool", "Name a field of str or int.")
        return found

    def moment(self, name: str, place: str) -> Moment | None:
        """The field `name` where it is a mandatory `datetime`. Raises ConfigError where not so."""
        found = self._moments.get(name)
        if found is not None and found.optional:
            raise _may_be_none(name, place)
        return found


def _may_be_none(name: str, place: str) -> ConfigError:
    return ConfigError(place, f"the field {name!r} may be None", "Make id, time and key mandatory.")


# What to do about some types that features cannot use.
_UNUSABLE_FIX = {
    "datetime": " A time is an int: milliseconds since the Unix epoch.",
    "dict": " What features need of it has to be a field of the event itself.",
    "struct": " What features need of it has to be a field of the event itself.",
}


def struct_of(described: inspect.Type) -> inspect.StructType | None:
    """The struct that a field holds, or may hold beside None; else None."""
    plain, _ = _without_none(described)
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


def _without_none(described: inspect.Type) -> tuple[inspect.Type, bool]:
    """A described type without its None, and whether it had one."""
    if isinstance(described, inspect.UnionType):
        rest = [one for one in described.types if not isinstance(one, inspect.NoneType)]
        if len(rest) == 1:
            return rest[0], True
    return described, False


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
