"""The REST API: every route, declared once, beside its handler or in a table of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from freshrank.serve.access.api_keys import Scope
from freshrank.serve.api.explain_answers import ExplainAnswer
from freshrank.serve.api.responses import (
    BatchAnswer,
    EntityEventsAnswer,
    EventsAnswer,
    FeaturesAnswer,
    ForgetAnswer,
    Json,
    ModelAnswer,
    PipelineAnswer,
    ScoreAnswer,
)
from freshrank.serve.entities.entity_events import EntityEvents
from freshrank.serve.entities.entity_features import entity_features
from freshrank.serve.entities.entity_forgetter import EntityForgetter
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.http.events_schema import events_schema
from freshrank.serve.http.json_response import JsonResponse
from freshrank.serve.http.kept_answers import KeptAnswers
from freshrank.serve.http.openapi import document
from freshrank.serve.http.operation_routes import OperationRoutes
from freshrank.serve.http.recommendation_routes import RecommendationRoutes
from freshrank.serve.http.request_body import read_body
from freshrank.serve.http.route_spec import REQUIRED, Answer, Parameter, RouteSpec
from freshrank.serve.scoring.score_batch import ScoreBatch
from freshrank.serve.scoring.service import ScoringService

FurtherRoutes: TypeAlias = Callable[[Sequence[RouteSpec]], Sequence[RouteSpec]]

_LIMIT: Parameter[int] = Parameter("limit", Annotated[int, msgspec.Meta(ge=1, le=200)], 20)
_EVENTS_SUMMARY = (
    "Write one event or a list of events to the topic of a stream. After a 503 some may have been "
    "written; sending all again is safe, they are deduplicated by their ids"
)


class RouteTable:
    """The routes of one replica. A handler reads the request, calls the service and answers.

    `further` makes routes that are about the others.
    """

    def __init__(self, service: ScoringService, further: FurtherRoutes = lambda _: ()) -> None:
        self._service = service
        self._limits = service.pipeline.limits
        self._entity_events = EntityEvents(service.pipeline, service.connectors)
        self._forgetter = EntityForgetter(service.pipeline, service.connectors.sink, service.reader)
        self._explainer = Explainer(service)
        self._batch = ScoreBatch(service)
        self._kept = KeptAnswers(service.connectors.clock, service.metrics)
        self._operation_routes = OperationRoutes(service)
        self._recommendation_routes: RecommendationRoutes | None = None
        if service.retriever is not None:
            self._recommendation_routes = RecommendationRoutes(
                service, service.retriever, self._explainer, self._kept
            )
        features = service.pipeline.features
        self._entity, self._id = _of_entities(
            [service.pipeline.entity], features.request_types.key_text
        )
        self._any_entity, self._any_id = _of_entities(
            features.entities, features.request_types.any_key_text
        )
        topics = tuple(stream.topic for stream in service.pipeline.streams)
        # Of several streams, a request has to name the one that its events belong to.
        default = topics[0] if len(topics) == 1 else REQUIRED
        self._stream: Parameter[str] = Parameter("stream", str, default, topics)
        items = self._recommendation_routes
        narrower = None if items is None else items.narrower_schemas
        self._further = further(self._own_specs())
        whole = document(service.pipeline.name, self.specs(), narrower)
        self._document = msgspec.json.encode(whole)

    def specs(self) -> list[RouteSpec]:
        """All routes."""
        return [*self._own_specs(), *self._further]

    def _own_specs(self) -> list[RouteSpec]:
        return [
            *self._score_routes(),
            self._events_route(),
            *self._explanation_routes(),
            *(self._recommendation_routes.specs() if self._recommendation_routes else []),
            *self._support_routes(),
            self._forget_route(),
            *self._description_routes(),
            *self._operation_routes.specs(),
        ]

    def _score_routes(self) -> list[RouteSpec]:
        """What shops ask for, many times a second."""
        return [
            RouteSpec(
                method="POST",
                path="/v1/score",
                operation="score",
                scope=Scope.SCORE,
                summary="Score candidates for one entity",
                handler=self.score,
                body=self._service.decoder.request_type,
                answers={200: Answer(ScoreAnswer)},
                errors=(409,),
                limited=True,
                fast=True,
                repeatable=True,
            ),
            RouteSpec(
                method="POST",
                path="/v1/score/batch",
                operation="score_batch",
                scope=Scope.SCORE,
                summary="Score candidates for several entities. Each request is answered or "
                "refused on its own",
                handler=self.score_batch,
                body=self._batch.request_type,
                answers={200: Answer(BatchAnswer)},
                errors=(409,),
                limited=True,
                fast=True,
                repeatable=True,
            ),
        ]

    def _events_route(self) -> RouteSpec:
        return RouteSpec(
            method="POST",
            path="/v1/events",
            operation="events",
            scope=Scope.EVENTS,
            summary=_EVENTS_SUMMARY,
            handler=self.events,
            parameters=(self._stream,),
            body=events_schema(self._service.pipeline.streams, self._limits.events),
            answers={200: Answer(EventsAnswer)},
            limited=True,
        )

    def _explanation_routes(self) -> list[RouteSpec]:
        """What people ask for about scores."""
        return [
            RouteSpec(
                method="POST",
                path="/v1/explain",
                operation="explain",
                scope=Scope.SCORE,
                summary="What each input of the model adds to the scores of a few candidates. "
                "Takes the body of a request to score, all of it right; nothing is logged as shown",
                handler=self.explain,
                body=self._explainer.decoder.request_type,
                answers={200: Answer(ExplainAnswer)},
                errors=(409,),
                limited=True,
            ),
        ]

    def _support_routes(self) -> list[RouteSpec]:
        """What people ask for about one entity."""
        return [
            RouteSpec(
                method="GET",
                path="/v1/features/{entity}/{id:text}",
                operation="features",
                scope=Scope.SCORE,
                summary="The features of one entity, as of now",
                handler=self.features,
                parameters=(self._any_entity, self._any_id),
                answers={200: Answer(FeaturesAnswer)},
                errors=(404,),
                limited=True,
            ),
            RouteSpec(
                method="GET",
                path="/v1/entities/{entity}/{id:text}/events",
                operation="entity_events",
                scope=Scope.SCORE,
                summary="The last events of one entity, newest first. Read back from the end of "
                "its partition, for at most 50,000 records and 2 s; the answer says how far",
                handler=self.entity_events,
                parameters=(self._entity, self._id, _LIMIT),
                answers={200: Answer(EntityEventsAnswer)},
                errors=(404,),
                limited=True,
            ),
        ]

    def _forget_route(self) -> RouteSpec:
        return RouteSpec(
            method="DELETE",
            path="/v1/entities/{entity}/{id:text}",
            operation="forget",
            scope=Scope.EVENTS,
            summary="Forget one entity: its features, what waits for a label, and the weights of "
            "its id. The answer comes when this is in the log; parts follow within seconds",
            handler=self.forget,
            parameters=(self._entity, self._id),
            answers={202: Answer(ForgetAnswer, "It will be forgotten")},
            errors=(404,),
            limited=True,
        )

    def _description_routes(self) -> list[RouteSpec]:
        """What describes the pipeline, its model and its API."""
        return [
            RouteSpec(
                method="GET",
                path="/v1/model",
                operation="model",
                scope=Scope.SCORE,
                summary="Version, age and contents of the weights",
                handler=self.model,
                answers={200: Answer(ModelAnswer)},
            ),
            RouteSpec(
                method="GET",
                path="/v1/pipeline",
                operation="pipeline",
                scope=Scope.SCORE,
                summary="What this pipeline takes",
                handler=self.pipeline,
                answers={200: Answer(PipelineAnswer)},
            ),
            RouteSpec(
                method="GET",
                path="/openapi.json",
                operation="openapi",
                scope=Scope.SCORE,
                summary="This document",
                handler=self.openapi,
                answers={200: Answer(dict[str, Json])},
            ),
        ]

    async def score(self, request: Request) -> Response:
        """POST /v1/score."""
        body = await read_body(request, self._limits.body_bytes)
        return await self._kept.answer(request, body, self._service.score)

    async def score_batch(self, request: Request) -> Response:
        """POST /v1/score/batch."""
        body = await read_body(request, self._limits.body_bytes)
        return await self._kept.answer(request, body, self._batch.score)

    async def events(self, request: Request) -> Response:
        """POST /v1/events."""
        topic = self._stream.of(request)
        body = await read_body(request, self._limits.body_bytes)
        return JsonResponse(await self._service.events.write(body, topic))

    async def explain(self, request: Request) -> Response:
        """POST /v1/explain."""
        body = await read_body(request, self._limits.body_bytes)
        return JsonResponse(await self._explainer.explain(body))

    async def features(self, request: Request) -> Response:
        """GET /v1/features/{entity}/{id}."""
        entity, key = self._any_entity.of(request), self._any_id.of(request)
        return JsonResponse(await entity_features(self._service, entity, key))

    async def entity_events(self, request: Request) -> Response:
        """GET /v1/entities/{entity}/{id}/events."""
        entity, key, limit = self._entity.of(request), self._id.of(request), _LIMIT.of(request)
        return JsonResponse(await self._entity_events.last(entity, key, limit))

    async def forget(self, request: Request) -> Response:
        """DELETE /v1/entities/{entity}/{id}."""
        entity, key = self._entity.of(request), self._id.of(request)
        return JsonResponse(await self._forgetter.forget(entity, key), 202)

    async def model(self, request: Request) -> Response:
        """GET /v1/model."""
        return JsonResponse(self._service.model.describe())

    async def pipeline(self, request: Request) -> Response:
        """GET /v1/pipeline."""
        return JsonResponse(self._service.describe())

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return Response(self._document, media_type="application/json")


def _of_entities(names: Sequence[str], key: Any) -> tuple[Parameter[str], Parameter[str]]:
    """The kind and the id of an entity; the service answers others with a 404 that names these."""
    kind = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(names)})]
    return Parameter("entity", kind), Parameter("id", key)
