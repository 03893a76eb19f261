"""What answers about items have in common: keys as JSON has them, sources, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from freshrank.actors.features.retrieval import CandidateOrigin, Retrieved, Retriever
from freshrank.serve.api.recommendation_answers import ItemId, ItemSource, Note


class FoundItems:
    """Puts items of a retriever into answers."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def id(self, key: str) -> ItemId:
        """The key of an item as answers give it."""
        return int(key) if self._retriever.integer_keys else key

    def sources(self, origins: Sequence[CandidateOrigin]) -> list[ItemSource]:
        """The sources of an item."""
        return [ItemSource(one.source, [self.id(key) for key in one.because]) for one in origins]

    def notes(self, wanted: int, found: Retrieved, answered: int) -> Iterator[Note]:
        """Why an answer has fewer items than the `wanted`, or not the best ones."""
        candidates, size = len(found.items), self._retriever.size
        reason = self._retriever.not_ready()
        if reason is not None:
            yield Note("catalogue_not_ready", reason)
        if not size:
            yield Note("empty_catalogue", "the catalogue has no items")
        elif candidates < wanted:
            why = "no more were asked for, or were found by the sources"
            if found.allowed is not None and found.allowed < min(wanted, size):
                why = f"filters and exclusions leave {found.allowed} of the {size} in the catalogue"
            elif size < wanted:
                why = f"the catalogue has {size}"
            yield Note("few_candidates", f"{candidates} candidates for {wanted} items: {why}")
        elif answered < wanted:
            reason = f"`most_per` allows {answered} of {candidates} candidates, {wanted} are wanted"
            yield Note("few_diverse", reason)
