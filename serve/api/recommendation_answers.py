"""Answers about items of the catalogue: those recommended to an entity, those similar to others."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from freshrank.serve.api.explain_answers import Contribution
from freshrank.serve.api.responses import FeatureInfo, Json, ModelInfo

ITEM_ID: Final = "Key of an item"
"""The title of the schema of `ItemId`, by which the document of a pipeline finds it."""

ItemId: TypeAlias = Annotated[int | str, msgspec.Meta(title=ITEM_ID)]
"""The key of an item: an integer where keys are integers, else a text."""

NoteCode: TypeAlias = Literal[
    "new_entity",
    "outage",
    "catalogue_not_ready",
    "empty_catalogue",
    "few_candidates",
    "few_diverse",
]


class Note(msgspec.Struct):
    """What keeps an answer from being as good as it could be."""

    code: NoteCode
    """``new_entity``: there is no row of the entity, so that candidates and features do not depend
    on what it did. ``outage``: the online store did not answer, or is being filled, and a row is
    not known.
    ``catalogue_not_ready``: it is still being read, or was not read of late. ``empty_catalogue``:
    it has no items. ``few_candidates``: fewer than were asked for passed filters and exclusions.
    ``few_diverse``: `most_per` allowed fewer of the candidates."""
    reason: str


class ItemSource(msgspec.Struct):
    """A source that found an item."""

    name: str
    because: list[ItemId]
    """The items that led to it, the strongest first; empty where none did."""


class RecommendedItem(msgspec.Struct):
    """An item that is recommended."""

    id: ItemId
    score: float
    """As POST /v1/score would give it."""
    fields: dict[str, Json]
    """What the catalogue says of it."""
    sources: list[ItemSource]
    """All that found it, in the order of the pipeline; of a following page none."""
    boosted_score: float | msgspec.UnsetType = msgspec.UNSET
    """What it is ranked by, where the request has boosts: no probability."""
    reasons: list[Contribution] | msgspec.UnsetType = msgspec.UNSET
    """What inputs of the model add to the logit, or output (see POST /v1/explain), the largest
    first whatever its sign; as many as `explain` wants. Of the first items only: as many as POST
    /v1/explain takes."""


class RecommendAnswer(msgspec.Struct):
    """The answer to POST /v1/recommend."""

    request_id: str
    model: ModelInfo
    features: FeatureInfo
    items: list[RecommendedItem]
    """The best first, or in the order that `diversify.mmr` gives; drawn where the arm of an
    experiment explores."""
    candidates: int
    """How many candidates were ranked."""
    found: dict[str, int]
    """By source: how many items it gave that passed."""
    notes: list[Note]
    next: str | None
    """What POST /v1/recommend/next takes to answer the page after this; None: there is none."""
    arms: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """By experiment, the arm that answered; absent where there is none."""


class SimilarItem(msgspec.Struct):
    """An item that is similar to others."""

    id: ItemId
    similarity: float
    """Comparable among the items that the same source found first."""
    fields: dict[str, Json]
    """What the catalogue says of it."""
    sources: list[ItemSource]
    """All that found it, in the order of the pipeline."""


class SimilarAnswer(msgspec.Struct):
    """The answer to POST /v1/similar."""

    items: list[SimilarItem]
    """The most similar first; those of several sources alternate."""
    unknown: list[ItemId]
    """Those of the given items that the catalogue does not have."""
    candidates: int
    """How many items were found to choose from."""
    found: dict[str, int]
    """By source: how many items it gave that passed."""
    notes: list[Note]
