"""GET /v1/features/{entity}/{id}: the features of one entity, as of now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.responses import FeaturesAnswer
from freshrank.serve.explanation.known_texts import hashes_in, known_texts, with_texts
from freshrank.serve.scoring.service import ScoringService


async def entity_features(service: ScoringService, entity: str, key: str) -> FeaturesAnswer:
    """The features of the entity of the kind `entity` with the id `key`. Raises RequestError."""
    features = service.pipeline.features
    if entity not in features.entities:
        known = ", ".join(map(repr, features.entities))
        reason = f"there is no entity {entity!r} here, only {known}"
        raise RequestError("entity", reason, status=404)
    key = service.pipeline.canonical_key(entity, key, "id")
    found = await service.reader.read(features.keys(entity, key))
    at_ms = service.connectors.clock.now_ms()
    shown = features.describe(entity, [stored.row for stored in found], at_ms)
    return FeaturesAnswer(
        *msgspec.structs.astuple(service.freshness(entity, found, at_ms)),
        entity=entity,
        id=key,
        at_ms=at_ms,
        features=await _named(service, key, shown),
    )


async def _named(
    service: ScoringService, key: str, shown: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """The features with the texts of hashes that the request, or the catalogue, tells."""
    retriever = service.retriever
    texts = known_texts(key, {"id": [key]}, retriever)
    sought = {id_ for id_ in hashes_in(shown) if id_ not in texts}
    if sought and retriever is not None:
        # The event loop scores meanwhile.
        texts |= await asyncio.to_thread(retriever.texts_of, sought)
    return {name: with_texts(value, texts) for name, value in shown.items()}
