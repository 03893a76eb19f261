"""Streams and entities: what a pipeline says of a topic of events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from types import UnionType

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.event_type import event_type
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.formats import BoundFormat, Json, RecordFormat, bind_format
from freshrank.feature_actors.streams.keys.compound_key import PLUS, is_compound, key_parts
from freshrank.feature_actors.streams.schema.tagged_union import one_struct
from freshrank.feature_actors.streams.times.time_field import TimeField, declared_time
from freshrank.feature_actors.streams.times.units import TimeUnit

# Valid in a key of the online store, in the name of a metric and in a JSON field.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Kafka's own rule for the names of topics; "." and ".." are none, and five characters are left for
# the name of the side topic, as in "plays.dead".
_TOPIC = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,244}")


ANY = "any"
"""The partitioner of a stream whose records may lie in any partition."""


@dataclass(frozen=True, slots=True, init=False)
class Entity:
    """A kind of thing that features describe (a user, an item); the field `key` identifies it.

    Several fields identify a *compound* entity together:

    >>> Entity("user_category", key=["user", "category"])
    Entity(name='user_category', key='user+category')
    """

    name: str
    key: str
    """The field; of a compound entity the names of its fields, with ``+`` between them."""

    def __init__(self, name: str, key: str | Sequence[str]) -> None:
        place = f"Entity({name!r})"
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ConfigError(
                place,
                "an entity's name is letters, digits and underscores",
                "Take a name like 'user'.",
            )
        if not (isinstance(key, Sequence) and all(isinstance(part, str) for part in key)):
            raise ConfigError(
                place,
                f"its key is {key!r}",
                'Write the name of a field, or several, as in ["user", "category"].',
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "key", key if isinstance(key, str) else PLUS.join(key))
        if not all(self.parts) or len(set(self.parts)) < len(self.parts):
            raise ConfigError(
                place, f"its key is {key!r}", 'Name different fields, as in ["user", "category"].'
            )

    @property
    def compound(self) -> bool:
        """Whether several fields identify it."""
        return is_compound(self.key)

    @property
    def parts(self) -> tuple[str, ...]:
        """The fields that identify it."""
        return key_parts(self.key)


def require_plain_key(fields: Fields, entity: object, place: str) -> None:
    """Raise ConfigError unless `entity` is keyed by a single field, which each record has."""
    if not isinstance(entity, Entity):
        raise ConfigError(
            f"{place}.key", f"{entity!r} is no entity", 'Write key=Entity("user", key="user_id").'
        )
    if entity.compound:
        raise ConfigError(
            f"{place}.key",
            f"the key of a record is one text, and {entity.name!r} has {len(entity.parts)} fields",
            "Take an entity of one field; views may describe the compound one.",
        )
    fields.require_mandatory(entity.key, f"{place}.key", Kind.TEXT, Kind.INTEGER)


def check_topic(topic: str, place: str) -> None:
    """Raise ConfigError where `topic` is no name of a topic."""
    if not (isinstance(topic, str) and _TOPIC.fullmatch(topic)):
        raise ConfigError(
            place,
            "a topic's name is up to 244 letters, digits, '.', '_' and '-'",
            "Take another name.",
        )


@dataclass(frozen=True, eq=False)
class Stream:
    """A topic of events, keyed by an entity.

    Raises ConfigError, naming the place and the fix, for settings that cannot work.

    >>> class Play(msgspec.Struct):
    ...     play_id: str
    ...     listener: str
    ...     seconds: float
    ...     at: int
    >>> listener = Entity("listener", key="listener")
    >>> plays = Stream("plays", id="play_id", time="at", key=listener, schema=Play)
    >>> list(plays.fields), plays.dedup_within_ms
    (['play_id', 'listener', 'seconds', 'at'], 600000)
    """

    topic: str
    _: KW_ONLY
    id: str
    """The field (str or int) with the unique id of an event, for deduplication."""
    time: str
    """The field with the event time: an int since the Unix epoch, an ISO-8601 text (str), or a
    `datetime`."""
    key: Entity
    """The entity whose key the records carry."""
    schema: type[msgspec.Struct] | UnionType
    """The fields of an event. Fields of a record that it does not name are ignored. A union of
    tagged structs (``Click | Order``) becomes one struct: `one_struct`."""
    time_unit: str = TimeUnit.MILLISECONDS
    """The unit of a `time` that is an int: "s", "ms", "us" or "ns"."""
    time_zone: str | None = None
    """The IANA name of the zone ("Europe/Berlin") of times that name none. None: such events are
    rejected."""
    format: RecordFormat = field(default_factory=Json)
    """The format of the records; JSON unless given."""
    partitioner: str = Partitioner.MURMUR2
    """How the producers choose the partition of a record by its key: "murmur2" or "crc32" (see
    `Partitioner`). Records of entities that belong to another partition are rejected. "any": they
    may lie anywhere, and are copied to a topic that is keyed by the entity (`log_topic`)."""
    dedup_within: str = "10m"
    """For how long after its event has reached the log an id is remembered."""
    max_ahead: str = "1h"
    """How far an event time may lie ahead of the broker's time of its record."""
    max_bytes: int = 1_000_000  # Kafka's own default bound of a message
    """Larger records are rejected."""
    record_key: Entity | None = None
    """Made by `keyed_by`: the entity that keys the records of `topic`, whose shards read them, too.
    None: it is `key`."""
    record_partitioner: str | None = None
    """Made by `keyed_by`: the partitioner of `topic`, where the records are copies of its own."""
    fields: Fields = field(init=False, repr=False)
    """The fields of the schema that features can use."""
    time_field: TimeField = field(init=False, repr=False)
    """What was declared of `time`, checked."""
    event_type: type[msgspec.Struct] = field(init=False, repr=False)
    """The type of decoded events: `schema` with the rules that every stream has."""
    bound_format: BoundFormat = field(init=False, repr=False)
    """The format, with the type of the events."""

    def __post_init__(self) -> None:
        place = repr(self)
        check_topic(self.topic, place)
        if not isinstance(self.max_bytes, int) or self.max_bytes < 1:
            raise ConfigError(
                f"{place}.max_bytes", f"{self.max_bytes!r} is no size", "Take 1 or more."
            )
        if self.partitioner not in (*Partitioner, ANY):
            known = " or ".join(f'"{one}"' for one in (*Partitioner, ANY))
            raise ConfigError(
                f"{place}.partitioner",
                f"{self.partitioner!r} is no partitioner that is known here",
                f"Take {known}: how the producers of this topic choose partitions.",
            )
        duration_ms(self.dedup_within, f"{place}.dedup_within")
        duration_ms(self.max_ahead, f"{place}.max_ahead")
        schema = one_struct(self.schema, f"{place}.schema")
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "fields", Fields(schema, place))
        self.fields.require_mandatory(self.id, f"{place}.id", Kind.TEXT, Kind.INTEGER)
        time = declared_time(self.fields, self.time, self.time_unit, self.time_zone, place)
        object.__setattr__(self, "time_field", time)
        if self.record_key is None:
            require_plain_key(self.fields, self.key, place)
        checked = event_type(schema, self.time, self._mandatory)
        object.__setattr__(self, "event_type", checked)
        bound = bind_format(self.format, checked, time, f"{place}.format")
        object.__setattr__(self, "bound_format", bound)

    def __repr__(self) -> str:
        return f"Stream({self.topic!r})"

    @property
    def posted_type(self) -> type[msgspec.Struct]:
        """`event_type` that refuses other fields: in a posted event these are misspelt."""
        schema = one_struct(self.schema, f"{self!r}.schema")
        return event_type(schema, self.time, self._mandatory, closed=True)

    @property
    def _mandatory(self) -> tuple[str, str]:
        """The fields that each record of `topic` has: an event may lack that of another entity."""
        return self.id, (self.record_key or self.key).key

    def keyed_by(self, entity: Entity) -> Stream:
        """Its records keyed by `entity`, whose key is a field of the stream, or several.

        They are copies of what the shards of its own key read, too, and reject: what lies in
        another partition than these expect is not copied. Of a compound entity that the stream's
        own key is a part of they are the records themselves: all records of such an entity lie in
        the partition of its `owner`.

        >>> class Play(msgspec.Struct):
        ...     play_id: str
        ...     listener: str
        ...     song: str
        ...     at: int
        >>> listener = Entity("listener", key="listener")
        >>> plays = Stream("plays", id="play_id", time="at", key=listener, schema=Play)
        >>> plays.keyed_by(Entity("song", key="song")).log_topic
        'plays.by_song'
        >>> plays.keyed_by(Entity("listener_song", key=["listener", "song"])).log_topic
        'plays'
        """
        if entity.compound and self.key.key in entity.parts:
            return replace(self, key=entity, record_key=self.key)
        return replace(
            self,
            key=entity,
            partitioner=ANY,
            record_key=self.key,
            record_partitioner=self.partitioner,
        )

    @property
    def of_another_key(self) -> bool:
        """Whether shards of another key read the records, too, and tell of those they reject."""
        return self.record_key is not None

    @property
    def owner(self) -> Entity | None:
        """The entity that keys the records, where `key` is a compound one that has it as a part.

        A tombstone forgets the owner, with all compound entities that it is a part of.
        """
        own = self.record_key
        return own if own is not None and own.key in self.key.parts else None

    @property
    def owner_rekeyed(self) -> bool:
        """Whether its records are the copies that are keyed by the owner."""
        return self.rekeyed and self.owner is not None

    @property
    def log_key(self) -> Entity:
        """The entity that keys the records of `log_topic`."""
        return self.owner or self.key

    @property
    def dedup_within_ms(self) -> int:
        """`dedup_within` in milliseconds."""
        return duration_ms(self.dedup_within, "dedup_within")

    @property
    def placed_by(self) -> Partitioner:
        """How the records of `log_topic` lie."""
        return Partitioner.MURMUR2 if self.rekeyed else Partitioner(self.partitioner)

    @property
    def rekeyed(self) -> bool:
        """Whether the records are copied to a topic that is keyed by the entity."""
        return self.partitioner == ANY

    @property
    def log_topic(self) -> str:
        """The topic that shards read: `topic`, or that of its re-keyed copies.

        >>> class Play(msgspec.Struct):
        ...     play_id: str
        ...     listener: str
        ...     at: int
        >>> listener = Entity("listener", key="listener")
        >>> Stream(
        ...     "plays", id="play_id", time="at", key=listener, schema=Play, partitioner="any"
        ... ).log_topic
        'plays.by_listener'
        """
        return f"{self.topic}.by_{self.log_key.name}" if self.rekeyed else self.topic

    @property
    def max_ahead_ms(self) -> int:
        """`max_ahead` in milliseconds."""
        return duration_ms(self.max_ahead, "max_ahead")
