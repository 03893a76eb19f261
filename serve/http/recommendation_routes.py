"""The routes about items of a catalogue, of a pipeline that has one."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from freshrank.actors.features.retrieval import Retriever
from freshrank.serve.access.api_keys import Scope
from freshrank.serve.api.recommendation_answers import (
    ITEM_ID,
    RecommendAnswer,
    SimilarAnswer,
)
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.http.json_response import JsonResponse
from freshrank.serve.http.kept_answers import KeptAnswers
from freshrank.serve.http.openapi import Document
from freshrank.serve.http.request_body import read_body
from freshrank.serve.http.route_spec import Answer, RouteSpec
from freshrank.serve.recommendation.recommender import Recommender
from freshrank.serve.recommendation.selection import SelectionTypes
from freshrank.serve.recommendation.similar import SimilarItems
from freshrank.serve.scoring.service import ScoringService


class RecommendationRoutes:
    """A part of the route table."""

    def __init__(
        self,
        service: ScoringService,
        retriever: Retriever,
        explainer: Explainer,
        kept: KeptAnswers,
    ) -> None:
        self._kept = kept
        types = SelectionTypes(service.pipeline, retriever)
        self._recommender = Recommender(service, retriever, types, explainer)
        self._similar_items = SimilarItems(service, retriever, types)
        self._body_bytes = service.pipeline.limits.body_bytes
        key = "integer" if retriever.integer_keys else "string"
        self.narrower_schemas: Mapping[str, Document] = {ITEM_ID: {"title": ITEM_ID, "type": key}}
        """What is of one type in this catalogue, as `document` takes it."""

    def specs(self) -> list[RouteSpec]:
        """All of them."""
        return [*self._of_an_entity(), self._of_items()]

    def _of_an_entity(self) -> list[RouteSpec]:
        return [
            RouteSpec(
                method="POST",
                path="/v1/recommend",
                operation="recommend",
                scope=Scope.SCORE,
                summary="The items of the catalogue that the model ranks first for one entity. "
                "They are logged as shown, unless `show` says fewer",
                handler=self.recommend,
                body=self._recommender.decoder.request_type,
                answers={200: Answer(RecommendAnswer)},
                errors=(409,),
                limited=True,
                fast=True,
                repeatable=True,
            ),
            RouteSpec(
                method="POST",
                path="/v1/recommend/next",
                operation="recommend_next",
                scope=Scope.SCORE,
                summary="The page after one that was answered: its items are those that were "
                "ranked then, but for those that have left the catalogue",
                handler=self.recommend_next,
                body=self._recommender.next_decoder.request_type,
                answers={200: Answer(RecommendAnswer)},
                errors=(404, 409),
                limited=True,
                fast=True,
                repeatable=True,
            ),
        ]

    def _of_items(self) -> RouteSpec:
        return RouteSpec(
            method="POST",
            path="/v1/similar",
            operation="similar",
            scope=Scope.SCORE,
            summary="The items of the catalogue that are most like given ones, whoever asks. "
            "Nothing is logged as shown",
            handler=self.similar,
            body=self._similar_items.decoder.request_type,
            answers={200: Answer(SimilarAnswer)},
            errors=(404,),
            limited=True,
            fast=True,
        )

    async def recommend(self, request: Request) -> Response:
        """POST /v1/recommend."""
        body = await read_body(request, self._body_bytes)
        return await self._kept.answer(request, body, self._recommender.recommend)

    async def recommend_next(self, request: Request) -> Response:
        """POST /v1/recommend/next."""
        body = await read_body(request, self._body_bytes)
        return await self._kept.answer(request, body, self._recommender.next_page)

    async def similar(self, request: Request) -> Response:
        """POST /v1/similar."""
        body = await read_body(request, self._body_bytes)
        return JsonResponse(self._similar_items.similar(body))
