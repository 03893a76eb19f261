"""Protobuf's own classes of messages, made from their shapes: no code is generated beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message as ProtobufMessage
from google.protobuf.message_factory import GetMessageClass

from freshrank.serve.grpc.shapes import VALUE, Kind, Message, MessageField, Scalar

PACKAGE = "freshrank.v1"
"""Of the messages and of the service."""

_TYPES: Mapping[Scalar, int] = {
    Scalar.BOOL: FieldDescriptorProto.TYPE_BOOL,
    Scalar.INT: FieldDescriptorProto.TYPE_INT64,
    Scalar.DOUBLE: FieldDescriptorProto.TYPE_DOUBLE,
    Scalar.STRING: FieldDescriptorProto.TYPE_STRING,
}


def message_types(shapes: Iterable[Message]) -> dict[str, type[ProtobufMessage]]:
    """The class of each message, by its name.

    >>> from freshrank.serve.grpc.shapes import Shapes
    >>> shapes = Shapes()
    >>> _ = shapes.named("Seen", "", {"item": (int, True)})
    >>> message_types(shapes.messages.values())["Seen"](item=7).item
    7
    """
    file = FileDescriptorProto(name="freshrank.proto", package=PACKAGE, syntax="proto3")
    names = []
    for shape in shapes:
        _describe(file.message_type.add(name=shape.name), shape)
        names.append(shape.name)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in names
    }


def _describe(descriptor: DescriptorProto, shape: Message) -> None:
    if shape is VALUE:
        descriptor.oneof_decl.add(name="kind")
    for field in shape.fields:
        made = descriptor.field.add(
            name=field.identifier,
            json_name=field.name,
            number=field.number,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
        if field.many == "map":
            _describe_map(descriptor, made, field)
            continue
        _set_type(made, field.kind)
        if field.many == "list":
            made.label = FieldDescriptorProto.LABEL_REPEATED
        elif shape is VALUE:
            made.oneof_index = 0
        elif isinstance(field.kind, Scalar):
            # Whether a scalar is set is known by a group of its own (`optional` in proto3).
            made.proto3_optional = True
            made.oneof_index = len(descriptor.oneof_decl)
            descriptor.oneof_decl.add(name=f"_{field.identifier}")


def _describe_map(
    descriptor: DescriptorProto, made: FieldDescriptorProto, field: MessageField
) -> None:
    """Describe a map: a list of entries, whose type has the name that protobuf prescribes."""
    words = field.identifier.split("_")
    name = f"{''.join(word[:1].upper() + word[1:] for word in words)}Entry"
    entry = descriptor.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, (part, kind) in enumerate((("key", Scalar.STRING), ("value", field.kind)), 1):
        _set_type(
            entry.field.add(name=part, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL),
            kind,
        )
    made.label = FieldDescriptorProto.LABEL_REPEATED
    made.type = FieldDescriptorProto.TYPE_MESSAGE
    made.type_name = f".{PACKAGE}.{descriptor.name}.{name}"


def _set_type(made: FieldDescriptorProto, kind: Kind) -> None:
    if isinstance(kind, Scalar):
        made.type = _TYPES[kind]
    else:
        made.type = FieldDescriptorProto.TYPE_MESSAGE
        made.type_name = f".{PACKAGE}.{kind.name}"
