"""What answers about items have in common: keys as JSON has them, sources, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from freshrank.actors.features.retrieval import CandidateOrigin, Retriever
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

    def notes(self, wanted: int, candidates: int, answered: int) -> Iterator[Note]:
        """Why an answer has fewer items than the `wanted`, or not the best ones."""
        reason = self._retriever.not_ready()
        if reason is not None:
            yield Note("catalogue_not_ready", reason)
        if not self._retriever.size:
            yield Note("empty_catalogue", "the catalogue has no items")
        elif candidates < wanted:
            reason = f"{candidates} candidates for {wanted} items: no more were asked for or passed"
            yield Note("few_candidates", reason)
        elif answered < wanted:
            reason = f"`most_per` allows {answered} of {candidates} candidates, {wanted} are wanted"
            yield Note("few_diverse", reason)
