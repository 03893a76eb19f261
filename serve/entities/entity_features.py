"""GET /v1/features/{entity}/{id}: the features of one entity, as of now."""

from __future__ import annotations

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.serve.api.responses import FeaturesAnswer
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
    return FeaturesAnswer(
        *msgspec.structs.astuple(service.freshness(entity, found, at_ms)),
        entity=entity,
        id=key,
        at_ms=at_ms,
        features=dict(features.describe(entity, [stored.row for stored in found], at_ms)),
    )
