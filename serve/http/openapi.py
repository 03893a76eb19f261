"""The OpenAPI document, made from the very types that requests and answers are coded with."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from freshrank.serve.api.requests import TEXT_BOUND
from freshrank.serve.api.responses import (
    ErrorAnswer,
    EventsAnswer,
    FeaturesAnswer,
    HealthAnswer,
    ModelAnswer,
    PipelineAnswer,
    ReadyAnswer,
    ScoreAnswer,
    Statuses,
)
from freshrank.serve.scoring.service import ScoringService

Document: TypeAlias = dict[str, Any]

_REFERENCES = "#/components/schemas/{name}"
_MEANINGS = {
    "400": "Not JSON",
    "404": "There is no such entity here",
    "408": "The body came too slowly",
    "409": "The weights asked for did not arrive in time: ask for less, or again later",
    "413": "The body is too large, or an event for its topic",
    "422": "A field is wrong; the answer names it",
    "431": "The headers are too large",
    "500": "Our fault",
    "503": "Overloaded, or what it takes is not there in time: try again",
}
_BODY_ERRORS = ("400", "408", "413", "422", "431", "500", "503")
_SCORE_ERRORS = (*_BODY_ERRORS, "409")
_RETRY_AFTER = {
    "description": "Seconds to wait before the next try",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}


def document(service: ScoringService) -> Document:
    """OpenAPI 3.1, for this pipeline."""
    settings = service.settings
    types: dict[str, Any] = {
        "request": service.decoder.request_type,
        "score": ScoreAnswer,
        "events": EventsAnswer,
        "features": FeaturesAnswer,
        "model": ModelAnswer,
        "pipeline": PipelineAnswer,
        "status": Statuses,
        "health": HealthAnswer,
        "ready": ReadyAnswer,
        "error": ErrorAnswer,
    }
    found, components = msgspec.json.schema_components(types.values(), ref_template=_REFERENCES)
    writer = _Writer(dict(zip(types, found, strict=True)))
    event: Document = dict(settings.event_schema)
    components |= event.pop("$defs", {})
    event, components = _moved(event), _moved(components)
    events = {"type": "array", "items": event, "minItems": 1, "maxItems": settings.limits.events}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Freshrank: {settings.pipeline}", "version": "1"},
        "paths": writer.actions({"anyOf": [event, events]})
        | writer.looks(settings.entity)
        | writer.watched(),
        "components": {"schemas": components},
    }


class _Writer:
    """Writes down one path after another; `schemas` are those of the answers, by name."""

    def __init__(self, schemas: Document) -> None:
        self._schemas = schemas

    def actions(self, events: Document) -> Document:
        """What is posted."""
        return {
            "/v1/score": {
                "post": self._post(
                    "score",
                    "Score candidates for one entity",
                    self._schemas["request"],
                    _SCORE_ERRORS,
                )
            },
            "/v1/events": {
                "post": self._post(
                    "events",
                    "Write one event or a list of them to the topic. After a 503 some may have "
                    "been written; sending all again is safe, they are recognised by their ids",
                    events,
                    _BODY_ERRORS,
                )
            },
        }

    def looks(self, entity: str) -> Document:
        """What is read."""
        identity = [
            _parameter("entity", {"type": "string", "enum": [entity]}),
            _parameter("id", {"type": "string", "minLength": 1, "maxLength": TEXT_BOUND}),
        ]
        features = self._get("features", "The features of one entity, as of now", "404", "422")
        return {
            "/v1/features/{entity}/{id}": {"get": features | {"parameters": identity}},
            "/v1/model": {"get": self._get("model", "Version, age and contents of the weights")},
            "/v1/pipeline": {"get": self._get("pipeline", "What this pipeline takes")},
            "/v1/status": {"get": self._get("status", "The figures of all parts")},
        }

    def watched(self) -> Document:
        """What machines and people watch the replica by."""
        return {
            "/healthz": {"get": self._probe("health", "Whether this replica can go on")},
            "/readyz": {"get": self._probe("ready", "Whether it has weights and features")},
            "/metrics": {"get": self._text("metrics", "Prometheus metrics", "text/plain")},
            "/openapi.json": {"get": self._text("openapi", "This document", "application/json")},
            "/": {"get": self._text("page", "A page to watch and to play", "text/html")},
        }

    def _post(self, name: str, summary: str, body: Document, errors: tuple[str, ...]) -> Document:
        content = {"application/json": {"schema": body}}
        return {
            "operationId": name,
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": {
                "200": _answer("Done", self._schemas[name]),
                **self._errors(errors),
            },
        }

    def _get(self, name: str, summary: str, *errors: str) -> Document:
        errors = (*errors, "431", "500", "503")
        return {
            "operationId": name,
            "summary": summary,
            "responses": {"200": _answer("Done", self._schemas[name]), **self._errors(errors)},
        }

    def _probe(self, name: str, summary: str) -> Document:
        schema = self._schemas[name]
        return {
            "operationId": name,
            "summary": summary,
            "responses": {
                "200": _answer("Yes", schema),
                "503": _answer("No", schema),
                **self._errors(("431", "500")),
            },
        }

    def _text(self, name: str, summary: str, media_type: str) -> Document:
        return {
            "operationId": name,
            "summary": summary,
            "responses": {
                "200": {"description": "Done", "content": {media_type: {"schema": {}}}},
                **self._errors(("431", "500")),
            },
        }

    def _errors(self, statuses: tuple[str, ...]) -> Document:
        found = {one: _answer(_MEANINGS[one], self._schemas["error"]) for one in statuses}
        if "503" in found:
            found["503"]["headers"] = {"Retry-After": _RETRY_AFTER}
        return found


def _moved(schema: Any) -> Any:
    """`schema` with its references to ``$defs`` led to where the document keeps them."""
    if isinstance(schema, dict):
        return {key: _moved(one) for key, one in schema.items()}
    if isinstance(schema, list):
        return [_moved(one) for one in schema]
    if isinstance(schema, str) and schema.startswith("#/$defs/"):
        return _REFERENCES.format(name=schema.removeprefix("#/$defs/"))
    return schema


def _answer(meaning: str, schema: Document) -> Document:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, schema: Document) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": schema}
