"""The keys of entities as requests give them: each entity has exactly one text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec

from freshrank.actors.errors import BadRecord
from freshrank.actors.records import LONGEST_KEY
from freshrank.feature_actors.streams.event_type import without_none
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.keys.compound_key import compound_ids, key_parts, parts_of

# An integer as `str` writes it.
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_MOST_DIGITS = 20  # of 64 bits, with the sign
# Characters of a refused text in its message.
_MOST_SHOWN = 60
_GREATEST = str(2**63 - 1)


def _in_64_bits() -> str:
    """The pattern of exactly those that fit, for the schema."""
    below = [
        f"{_GREATEST[:place]}[{int(place == 0)}-{int(digit) - 1}][0-9]{{{18 - place}}}"
        for place, digit in enumerate(_GREATEST)
        if int(digit) > int(place == 0)
    ]
    as_long = "|".join([*below, _GREATEST])
    return f"^(0|-?[1-9][0-9]{{0,17}}|-?({as_long})|-{2**63})$"


class EntityKey:
    """The field of a schema that identifies an entity: the key of a stream's records, for example.

    Records hold an integer key as an integer. A request may also give it as text, which has to be
    the text that `str` writes: "07", "+7" and " 7" are no keys, since each would have a row and a
    join of its own beside those of 7.

    >>> class Visit(msgspec.Struct):
    ...     visit_id: str
    ...     session: int
    ...     at: int
    >>> from freshrank.feature_actors.streams.stream import Entity, Stream
    >>> session = Entity("session", key="session")
    >>> visits = Stream("visits", id="visit_id", time="at", key=session, schema=Visit)
    >>> key = EntityKey(visits.event_type, visits.fields, session.key)
    >>> key.canonical(7), key.canonical("7")
    ('7', '7')
    >>> key.canonical("07")
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.BadRecord: '07' is no integer: write 7 as 7 or "7"
    """

    def __init__(self, decoded: type[msgspec.Struct], fields: Fields, name: str) -> None:
        field = next(one for one in msgspec.structs.fields(decoded) if one.name == name)
        self.name: str = field.encode_name
        """The field's name in JSON."""
        self.of_event: Any = without_none(field.type)
        """Its type in a record that has it."""
        self.integer = fields[name].kind is Kind.INTEGER
        self.in_json: Any = self.of_event
        """Its type in the JSON of a request. The text of an integer is for `canonical` to check:
        a decoder would answer with the regular expression of the schema."""
        self.in_path: Any = self.of_event
        """Its type in a path, where all is text."""
        if self.integer:
            form = msgspec.Meta(
                description="The integer as text, without plus sign, leading zeros or blanks",
                extra_json_schema={"pattern": _in_64_bits(), "maxLength": _MOST_DIGITS},
            )
            self.in_path = Annotated[str, form]
            self.in_json = self.of_event | self.in_path

    def canonical(self, key: str | int) -> str:
        """The canonical text of a key. Raises BadRecord for a key that no event may have."""
        if self.integer and isinstance(key, str):
            if len(key) > _MOST_DIGITS or not _INTEGER.fullmatch(key):
                shown = key if len(key) <= _MOST_SHOWN else f"{key[:_MOST_SHOWN]}..."
                raise BadRecord(f'{shown!r} is no integer: write 7 as 7 or "7"')
            key = int(key)
        try:
            msgspec.convert(key, self.of_event)
        except msgspec.ValidationError as error:
            raise BadRecord(str(error)) from error
        return str(key)

    def of_record(self, key: bytes | None) -> str:
        """The entity that a record's key names. Raises BadRecord.

        >>> class Visit(msgspec.Struct):
        ...     visit_id: str
        ...     at: int
        >>> from freshrank.feature_actors.streams.stream import Entity, Stream
        >>> visit = Entity("visit", key="visit_id")
        >>> visits = Stream("visits", id="visit_id", time="at", key=visit, schema=Visit)
        >>> EntityKey(visits.event_type, visits.fields, "visit_id").of_record(b"v7")
        'v7'
        """
        if key is None:
            raise BadRecord("it has no key: its key is the entity's id")
        try:
            name = key.decode()
        except UnicodeDecodeError as error:
            raise BadRecord(f"its key is no UTF-8: {error.reason}") from error
        try:
            return self.canonical(name)
        except BadRecord as error:
            raise BadRecord(f"its key: {error.reason}") from error

    def as_in_records(self, document: bytes) -> bytes:
        """The JSON of an event, with an integer key that is given as text as the integer.

        Called only for a document that was refused. Raises BadRecord.
        """
        try:
            fields = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
            key = msgspec.json.decode(fields[self.name], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
            return document
        try:
            fields[self.name] = msgspec.Raw(self.canonical(key).encode())
        except BadRecord as error:
            raise BadRecord(f"{error.reason} - at `$.{self.name}`") from error
        return msgspec.json.encode(fields)


class CompoundKey:
    """The fields of a schema that identify a compound entity together.

    >>> class Visit(msgspec.Struct):
    ...     visit_id: str
    ...     user: str
    ...     shelf: int
    ...     at: int
    >>> from freshrank.feature_actors.streams.stream import Entity, Stream
    >>> user = Entity("user", key="user")
    >>> visits = Stream("visits", id="visit_id", time="at", key=user, schema=Visit)
    >>> key = CompoundKey(visits.event_type, visits.fields, "user+shelf")
    >>> key.canonical("ann:7")
    'ann:7'
    >>> key.canonical("ann:07")
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.BadRecord: shelf: '07' is no integer: write 7 as 7 or "7"
    """

    def __init__(self, decoded: type[msgspec.Struct], fields: Fields, name: str) -> None:
        self._parts = [EntityKey(decoded, fields, part) for part in key_parts(name)]
        form = msgspec.Meta(description=f"{':'.join(self.names)}; ~1 is a : in a part, ~0 a ~")
        self.in_path: Any = Annotated[str, form]
        """The type of an id in a path."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its fields in JSON."""
        return [part.name for part in self._parts]

    def canonical(self, key: str | int) -> str:
        """The canonical text of an id (`compound_ids`). Raises BadRecord as above."""
        given = parts_of(str(key), len(self._parts))
        found = []
        for part, text in zip(self._parts, given, strict=True):
            try:
                found.append(part.canonical(text))
            except BadRecord as error:
                raise BadRecord(f"{part.name}: {error.reason}") from error
            if not 0 < len(text) <= LONGEST_KEY:
                raise BadRecord(
                    f"{part.name}: {len(text)} characters, and a part has 1 to {LONGEST_KEY}"
                )
        return compound_ids([[text] for text in found])[0]


def path_type(keys: Iterable[EntityKey | CompoundKey]) -> Any:
    """Return the type of an id in a path, which may be of any of several entities.

    It describes them all and admits any text, which `canonical` of the right one checks.

    >>> class Visit(msgspec.Struct):
    ...     visit_id: str
    ...     user: int
    ...     shelf: str
    ...     at: int
    >>> from freshrank.feature_actors.streams.stream import Entity, Stream
    >>> user = Entity("user", key="user")
    >>> visits = Stream("visits", id="visit_id", time="at", key=user, schema=Visit)
    >>> pair = CompoundKey(visits.event_type, visits.fields, "user+shelf")
    >>> id_type = path_type([EntityKey(visits.event_type, visits.fields, "user"), pair])
    >>> len(msgspec.json.schema(id_type)["anyOf"]), msgspec.convert("7:left", id_type)
    (2, '7:left')
    """
    forms = [msgspec.json.schema(key.in_path) for key in keys]
    each_once = [form for place, form in enumerate(forms) if form not in forms[:place]]
    described = each_once[0] if len(each_once) == 1 else {"anyOf": each_once}
    return Annotated[str, msgspec.Meta(extra_json_schema=described)]
