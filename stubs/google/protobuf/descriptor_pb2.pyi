from collections.abc import Sized
from typing import Protocol

from google.protobuf.message import Message

class _Oneofs(Sized, Protocol):
    def add(self, *, name: str) -> object: ...

class _Fields(Protocol):
    def add(
        self, *, name: str, number: int, label: int, json_name: str = ...
    ) -> FieldDescriptorProto: ...

class _Messages(Protocol):
    def add(self, *, name: str) -> DescriptorProto: ...

class FieldDescriptorProto(Message):
    TYPE_BOOL: int
    TYPE_INT64: int
    TYPE_DOUBLE: int
    TYPE_STRING: int
    TYPE_MESSAGE: int
    LABEL_OPTIONAL: int
    LABEL_REPEATED: int
    label: int
    type: int
    type_name: str
    oneof_index: int
    proto3_optional: bool

class MessageOptions(Message):
    map_entry: bool

class DescriptorProto(Message):
    name: str
    options: MessageOptions
    @property
    def field(self) -> _Fields: ...
    @property
    def nested_type(self) -> _Messages: ...
    @property
    def oneof_decl(self) -> _Oneofs: ...

class FileDescriptorProto(Message):
    package: str
    def __init__(self, *, name: str, package: str, syntax: str) -> None: ...
    @property
    def message_type(self) -> _Messages: ...
