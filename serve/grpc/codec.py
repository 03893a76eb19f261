"""From the bytes of protobuf's messages to what JSON would be decoded to, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError

from freshrank.actors.errors import RequestError
from freshrank.serve.api.responses import Json
from freshrank.serve.grpc.conversion import Readers, Writers
from freshrank.serve.grpc.message_types import message_types
from freshrank.serve.grpc.shapes import Message


class MessageCodec:
    """Decodes and encodes messages.

    >>> from freshrank.serve.grpc.shapes import Shapes
    >>> shapes = Shapes()
    >>> seen = shapes.named("Seen", "", {"item": (int, True), "scores": (list[float | None], True)})
    >>> codec = MessageCodec(shapes.messages.values())
    >>> found = codec.decoder(seen)(codec.encoder(seen)({"item": 7, "scores": [0.5, None]}))
    >>> found["item"], found["scores"]
    (7, [0.5, None])
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self.types = message_types(messages)
        """Protobuf's class of each message, by its name."""
        self._readers, self._writers = Readers(), Writers()

    def decoder(self, shape: Message) -> Callable[[bytes], Json]:
        """What decodes the bytes of messages of a shape; raises RequestError (400)."""
        parse, read = self.types[shape.name].FromString, self._readers.of(shape)

        def decode(data: bytes) -> Json:
            try:
                message = parse(data)
            except DecodeError as error:
                reason = f"not a {shape.name} in protobuf: take the messages of /freshrank.proto"
                raise RequestError("body", reason, status=400) from error
            return read(message)

        return decode

    def encoder(self, shape: Message) -> Callable[[Json], bytes]:
        """What encodes messages of a shape."""
        made, write = self.types[shape.name], self._writers.of(shape)

        def encode(value: Json) -> bytes:
            return made(**write(value)).SerializeToString()

        return encode
