"""The messages and the service in protobuf's language, of which clients are generated."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from freshrank.serve.grpc.message_types import PACKAGE
from freshrank.serve.grpc.shapes import VALUE, Message, MessageField, Scalar

SERVICE = "Freshrank"
"""The name of the service, in its package."""

_WIDTH = 96


def proto_text(
    pipeline: str, messages: Iterable[Message], calls: Iterable[tuple[str, str, str, str]]
) -> str:
    """The text of a ``.proto`` file.

    Of each call `calls` has its name, what it does, and the names of its request and its answer.
    """
    lines = [
        f"// The gRPC API of the pipeline {pipeline}; fields keep their numbers while they keep",
        "// their names. Errors carry an ErrorAnswer in their trailer `freshrank-error-bin`.",
        'syntax = "proto3";',
        "",
        f"package {PACKAGE};",
        "",
        f"service {SERVICE} {{",
    ]
    for name, summary, request, answer in calls:
        lines += _comment(summary, "  ")
        lines.append(f"  rpc {name}({request}) returns ({answer});")
    lines.append("}")
    for message in messages:
        lines += ["", *_comment(message.about, ""), f"message {message.name} {{"]
        lines += [f"  {line}" for line in _fields(message)]
        lines.append("}")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - len(indent)):
        yield f"{indent}// {line}"


def _fields(message: Message) -> Iterator[str]:
    if message is VALUE:
        yield "oneof kind {"
        for field in message.fields:
            yield f"  {_typed(field)}{_named(field)}"
        yield "}"
        return
    for field in message.fields:
        optional = field.many == "one" and isinstance(field.kind, Scalar)
        yield f"{'optional ' if optional else ''}{_typed(field)}{_named(field)}"


def _typed(field: MessageField) -> str:
    kind = field.kind.value if isinstance(field.kind, Scalar) else field.kind.name
    if field.many == "map":
        return f"map<string, {kind}>"
    return f"repeated {kind}" if field.many == "list" else kind


def _named(field: MessageField) -> str:
    name = field.name.replace("\\", "\\\\").replace('"', '\\"')
    return f' {field.identifier} = {field.number} [json_name = "{name}"];'
