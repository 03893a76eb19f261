"""Tables: compacted topics, of which the latest row of each key counts."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import NamedTuple

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.feature_actors.streams.event_type import event_type
from freshrank.feature_actors.streams.fields import Field, Fields
from freshrank.feature_actors.streams.formats import BoundFormat, Json, RecordFormat, bind_format
from freshrank.feature_actors.streams.stream import Entity, check_topic, require_plain_key


class TableField(NamedTuple):
    """A field of a table, for the context: each candidate takes it from its row."""

    table: Table
    name: str

    @property
    def field(self) -> Field:
        """Its name and kind."""
        return self.table.fields[self.name]


@dataclass(frozen=True, eq=False)
class Table:
    """A compacted topic with a row for each entity: a catalogue of items, for example.

    The key of a record is the entity's id, its value the row, as JSON unless `format` says
    otherwise. A later record replaces the
    row; a record without a value (a tombstone) deletes it. Fields are attributes.

    Raises ConfigError, naming the place and the fix, for settings that cannot work.

    >>> class Product(msgspec.Struct):
    ...     item_id: int
    ...     category: str
    ...     price: float | None = None
    >>> catalogue = Table("catalogue", key=Entity("item", key="item_id"), schema=Product)
    >>> catalogue.price.field
    Field(name='price', kind=<Kind.NUMBER: <class 'float'>>, optional=True, boolean=False, \
choices=(), each='')
    >>> catalogue.prise
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.ConfigError: Table('catalogue').prise: Table('catalogue') has no field \
'prise'. Did you mean 'price'?
    """

    topic: str
    _: KW_ONLY
    key: Entity
    """The entity that has the rows. Its key is also a field of the row, with the same value."""
    schema: type[msgspec.Struct]
    """The fields of a row. Fields of a record that it does not name are ignored."""
    format: RecordFormat = field(default_factory=Json)
    """The format of the values; JSON unless given. The key is a text in any case."""
    partitioner: str = Partitioner.MURMUR2
    """How the producers choose the partition of a record by its key: "murmur2" or "crc32"."""
    max_bytes: int = 1_000_000  # Kafka's own default bound of a message
    """Larger records are rejected."""
    fields: Fields = field(init=False, repr=False)
    """The fields of the schema that a context can use."""
    row_type: type[msgspec.Struct] = field(init=False, repr=False)
    """The type of decoded rows: `schema` with the rules that every table has."""
    bound_format: BoundFormat = field(init=False, repr=False)
    """The format, with the type of the rows."""

    def __post_init__(self) -> None:
        place = repr(self)
        check_topic(self.topic, place)
        if not isinstance(self.max_bytes, int) or self.max_bytes < 1:
            raise ConfigError(
                f"{place}.max_bytes", f"{self.max_bytes!r} is no size", "Take 1 or more."
            )
        if self.partitioner not in list(Partitioner):
            known = " or ".join(f'"{one}"' for one in Partitioner)
            raise ConfigError(
                f"{place}.partitioner",
                f"{self.partitioner!r} is no partitioner of a table",
                f"Take {known}: how the producers of this topic choose partitions.",
            )
        object.__setattr__(self, "fields", Fields(self.schema, place))
        require_plain_key(self.fields, self.key, place)
        checked = event_type(self.schema, "", (self.key.key,))
        object.__setattr__(self, "row_type", checked)
        bound = bind_format(self.format, checked, None, f"{place}.format")
        object.__setattr__(self, "bound_format", bound)

    def __repr__(self) -> str:
        return f"Table({self.topic!r})"

    def __getattr__(self, name: str) -> TableField:
        if name.startswith("_") or "fields" not in vars(self):  # copy and pickle ask for such
            raise AttributeError(name)
        return self.column(name)

    def column(self, name: str) -> TableField:
        """The field `name`, also one whose name an attribute of the table has, or a path.

        Raises ConfigError where there is none.
        """
        self.fields.require(name, f"{self!r}.{name}")
        return TableField(self, name)

    @property
    def log_key(self) -> Entity:
        """The entity that keys its records."""
        return self.key

    @property
    def placed_by(self) -> Partitioner:
        """How its records lie."""
        return Partitioner(self.partitioner)

    @property
    def log_topic(self) -> str:
        """The topic that shards read: its own."""
        return self.topic
