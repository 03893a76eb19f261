"""What a request for recommendations says of itself: fields of a candidate that no item has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.features.service import Candidates, Column
from freshrank.serve.api.known_names import unknown_name
from freshrank.serve.api.requests import placed
from freshrank.serve.scoring.served_pipeline import ServedPipeline

ContextValue: TypeAlias = str | int | float | bool | None


class RequestContext:
    """The type of the field `context` of requests: the device, the page, the user agent."""

    def __init__(self, pipeline: ServedPipeline, retriever: Retriever) -> None:
        candidate = pipeline.features.request_types.candidate
        wanted = retriever.request_context
        fields = [one for one in msgspec.structs.fields(candidate) if one.name in wanted]
        self.names = [one.encode_name for one in fields]
        self.type = msgspec.defstruct(
            "RequestContext",
            [(one.name, one.type, _as_declared(one)) for one in fields],
            forbid_unknown_fields=True,
            kw_only=True,
            frozen=True,
        )

    @property
    def fields(self) -> Sequence[tuple[str, Any] | tuple[str, Any, Any]]:
        """The field of a request, as `msgspec.defstruct` takes it; none where there is no context.

        It may be left out where all that it holds may be.
        """
        if not self.names:
            return []
        if any(one.required for one in msgspec.structs.fields(self.type)):
            return [("context", self.type)]
        return [("context", self.type, msgspec.field(default_factory=self.type))]

    def of(self, request: Any) -> Mapping[str, ContextValue]:
        """By field, what a decoded request says."""
        given = getattr(request, "context", None)
        return {} if given is None else msgspec.structs.asdict(given)

    def explained(self, error: RequestError) -> RequestError:
        """`error`, or where it is about a context that a request lacks, one that names its fields.

        That is where the request has no `context`, or has a field of it elsewhere.
        """
        if error.field == "context" and "context" in error.reason:  # it is missing as a whole
            try:
                self.check({})
            except msgspec.ValidationError as missing:
                return RequestError(*placed(str(missing), "context"))
        name = unknown_name(error.reason)
        if error.field == "body" and name in self.names:
            reason = f'{error.reason}; it is one of `context`: {{"context": {{"{name}": ...}}}}'
            return RequestError("body", reason)
        return error

    def check(self, given: Mapping[str, ContextValue]) -> None:
        """Raise msgspec.ValidationError where no request can have said this before."""
        names = {one.name: one.encode_name for one in msgspec.structs.fields(self.type)}
        msgspec.convert({names.get(name, name): value for name, value in given.items()}, self.type)


def with_context(columns: Candidates, context: Mapping[str, ContextValue], n: int) -> Candidates:
    """The columns of ``n`` candidates, with the same context for each."""
    given = {name: cast(Column, [value] * n) for name, value in context.items()}
    return {**columns, **given} if given else columns


def _as_declared(field: msgspec.structs.FieldInfo) -> Any:
    """Its name in JSON, and what it is where it is left out."""
    if field.required:
        return msgspec.field(name=field.encode_name)
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(name=field.encode_name, default=field.default)
    return msgspec.field(name=field.encode_name, default_factory=field.default_factory)
