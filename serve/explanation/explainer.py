"""POST /v1/explain: what each input of the model adds to the scores of a few candidates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from freshrank.actors.features.service import RowLookup
from freshrank.actors.messages import Inputs, Ints
from freshrank.actors.parameters.explanation import Explanation
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.explain_answers import CandidateExplanation, Contribution, ExplainAnswer
from freshrank.serve.api.requests import rounded
from freshrank.serve.api.score_requests import ScoreDecoder
from freshrank.serve.explanation.known_texts import known_texts, with_texts
from freshrank.serve.scoring.impression_log import ScoredRequest
from freshrank.serve.scoring.service import ScoringService

# Decimals of an answer: a hundred rounded contributions still add up to within a millionth.
_DECIMALS = 8


class Explainer:
    """Explains the scores that a service would give. It shows nothing, and logs no impression.

    The event loop that explains also scores: one candidate is explained at a time, and requests to
    score that came meanwhile are answered before the next.
    """

    def __init__(self, service: ScoringService) -> None:
        pipeline = service.pipeline
        self.decoder = ScoreDecoder(
            pipeline.entity,
            pipeline.features.request_types,
            pipeline.limits,
            most=pipeline.limits.explained,
            name="ExplainRequest",
        )
        self._service = service
        self._turn = asyncio.Lock()

    async def explain(self, body: bytes) -> ExplainAnswer:
        """Answer a request, by the weights and the features of one moment.

        Raises RequestError and StaleParameters.
        """
        service, entity = self._service, self._service.pipeline.entity
        features = service.pipeline.features
        call = self.decoder.decode(body)
        key, lookups, found = await service.read(call)
        assigned = service.experiments.of(key, retrieves=False, pinned=call.wanted.pinned)
        async with self._turn:
            # Without an await up to where the weights are taken: all belongs together.
            at_ms = service.connectors.clock.now_ms()
            rows = found.values
            columns = {**call.columns, **service.weights(found, call.columns)}
            inputs = features.inputs(lookups, rows, key, columns, at_ms)
            model = service.model.at(assigned.pinned)
            explanations = model.explain(inputs)
            answer = ExplainAnswer(
                model=model.info(),
                features=service.freshness(entity, found.own, at_ms),
                candidates=[],
            )
            if found.ages_ms:
                answer.candidate_rows = found.by_table(entity, lookups)
            values = features.input_values(lookups, rows, key, columns, at_ms)
            texts = known_texts(key, call.columns, service.retriever)
            answer.candidates = [*await _one_by_one(explanations, values, texts)]
        if call.skipped:
            call.describe_skipped(answer)
        return answer

    async def of_scored(
        self, scored: ScoredRequest, lookups: Sequence[RowLookup], places: Ints
    ) -> list[CandidateExplanation]:
        """The explanations of those candidates at the indices `places` int64[m].

        By the weights of the call: to be called before anything is waited for after scoring.
        """
        inputs = Inputs(scored.inputs.dense[places], scored.inputs.ids[places])
        explanations = self._service.model.at(scored.assigned.pinned).explain(inputs)
        rows = scored.rows.values
        async with self._turn:
            # Of all candidates: some values are relative to the others.
            values = list(
                self._service.pipeline.features.input_values(
                    lookups, rows, scored.entity, scored.columns, scored.at_ms
                )
            )
            chosen = places.tolist()
            own = {name: [of[at] for at in chosen] for name, of in scored.columns.items()}
            texts = known_texts(scored.entity, own, self._service.retriever)
            return await _one_by_one(explanations, [values[place] for place in chosen], texts)


async def _one_by_one(
    explanations: Iterable[Explanation],
    values: Iterable[Mapping[str, JsonValue]],
    texts: Mapping[int, str],
) -> list[CandidateExplanation]:
    found = []
    for explanation, shown in zip(explanations, values, strict=True):
        named = {name: with_texts(value, texts) for name, value in shown.items()}
        found.append(_explained(explanation, named))
        await asyncio.sleep(0)  # requests to score go on meanwhile
    return found


def _explained(one: Explanation, values: Mapping[str, JsonValue]) -> CandidateExplanation:
    contributions = [
        Contribution(name, "number", values.get(name), round(added, _DECIMALS))
        for name, added in zip(one.layout.dense, one.dense.tolist(), strict=True)
    ]
    contributions += [
        Contribution(field.name, "id", values.get(field.name), round(added, _DECIMALS))
        for field, added in zip(one.layout.fields, one.fields.tolist(), strict=True)
    ]
    contributions.sort(key=lambda each: -abs(each.contribution))
    (score,) = rounded(np.array([one.score], np.float32))
    output = round(one.output, _DECIMALS)
    return CandidateExplanation(
        score=score,
        logit=output if one.is_logit else msgspec.UNSET,
        output=msgspec.UNSET if one.is_logit else output,
        base=round(one.base, _DECIMALS),
        residual=round(one.residual, _DECIMALS),
        contributions=contributions,
        of_class=msgspec.UNSET if one.of_class is None else one.of_class,
    )
