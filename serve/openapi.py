"""The OpenAPI document, made from the very types that requests are decoded with."""

from __future__ import annotations

from typing import Any

import msgspec

from freshrank.serve.schema import (
    TEXT_BOUND,
    ErrorAnswer,
    EventsAnswer,
    Limits,
    ScoreAnswer,
)
from freshrank.serve.service import ScoringService

Document = dict[str, Any]

_REFERENCES = "#/components/schemas/{name}"
_FREE = {"type": "object"}


def document(service: ScoringService) -> Document:
    """OpenAPI 3.1, for this pipeline."""
    limits = service.settings.limits
    schemas, components = _components(service, limits)
    score, score_answer, events_answer, error = schemas
    event = service.settings.event_schema
    many = {"type": "array", "items": event, "minItems": 1, "maxItems": limits.events}
    errors = {
        status: _answer(meaning, error)
        for status, meaning in (
            ("400", "Not JSON"),
            ("408", "The body came too slowly"),
            ("413", "The body is too large"),
            ("422", "A field is wrong; the answer names it"),
            ("503", "Overloaded, or what was asked for is not there in time"),
        )
    }
    identity = [
        _parameter("entity", {"type": "string", "enum": [service.settings.entity]}),
        _parameter("id", {"type": "string", "minLength": 1, "maxLength": TEXT_BOUND}),
    ]
    unknown = {"404": _answer("Another entity", error)} | {
        status: errors[status] for status in ("422", "503")
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Freshrank: {service.settings.pipeline}", "version": "1"},
        "paths": {
            "/v1/score": {"post": _post("Score candidates", score, score_answer, errors)},
            "/v1/events": {
                "post": _post(
                    "Write events to the topic", {"anyOf": [event, many]}, events_answer, errors
                )
            },
            "/v1/features/{entity}/{id}": {
                "get": _get("The features of one entity, as of now", unknown)
                | {"parameters": identity}
            },
            "/v1/model": {"get": _get("Version, age and contents of the weights")},
            "/v1/pipeline": {"get": _get("What this pipeline takes")},
            "/v1/status": {"get": _get("The figures of all parts")},
            "/healthz": {"get": _get("Alive", {"503": _answer("Broken for good", _FREE)})},
            "/readyz": {"get": _get("Ready", {"503": _answer("Something is missing", _FREE)})},
        },
        "components": {"schemas": components},
    }


def _components(service: ScoringService, limits: Limits) -> tuple[list[Document], Document]:
    types = [service.decoder.request_type, ScoreAnswer, EventsAnswer, ErrorAnswer]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCES)
    request = components[service.decoder.request_type.__name__]
    request["properties"]["candidates"] |= {"minItems": 1, "maxItems": limits.candidates}
    return list(schemas), components


def _post(summary: str, body: Document, answer: Document, errors: Document) -> Document:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": _answer("Done", answer), **errors},
    }


def _get(summary: str, others: Document | None = None) -> Document:
    return {"summary": summary, "responses": {"200": _answer("Done", _FREE), **(others or {})}}


def _answer(meaning: str, schema: Document) -> Document:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, schema: Document) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": schema}
