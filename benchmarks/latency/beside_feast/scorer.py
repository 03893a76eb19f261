"""The bench's model as a deployment of Ray Serve, with features from Feast's server.

One deployment, as Serve's documents advise: Starlette's request, connections to Feast that stay
open, JSON by msgspec, the encoder and the compiled scorer that a replica has. It does less than
one: its weights stay as they are, and nothing is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec
import numpy as np
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from freshrank.actors.messages import Delta
from freshrank.benchmarks.latency.beside_feast.feast_features import FeastFeatures
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.examples.shop.traffic import ScoreRequest
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.serve.deployment import APP_NAME
from freshrank.serve.settings import ServeSettings


class ScoresByFeast:
    """Answers ``POST /v1/score`` with ``scores`` and ``ranking``.

    Parameters
    ----------
    file
        The pipeline, whose features Feast's server has.
    weights
        Of the learner, for its model.
    feast
        The URL of Feast's server.
    """

    def __init__(self, file: PipelineFile, weights: Sequence[Delta], feast: str) -> None:
        pipeline = file.load()
        self._features = FeastFeatures(pipeline)
        self._weights = ModelWeights(pipeline.bound_model)
        for delta in weights:
            self._weights.apply(delta)
        self._decode = msgspec.json.Decoder(ScoreRequest).decode
        self._url = f"{feast}/get-online-features"
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        wanted = self._decode(await request.body())
        columns = {
            "item_id": [one.item_id for one in wanted.candidates],
            "category_id": [one.category_id for one in wanted.candidates],
        }
        asked = self._features.asked(wanted.user, columns)
        answers = await asyncio.gather(*map(self._ask, asked))
        scores = self._weights.score(self._features.inputs(wanted.user, columns, answers))
        answer = {
            "scores": scores.tolist(),
            "ranking": np.argsort(-scores, kind="stable").tolist(),
        }
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def _ask(self, body: bytes) -> bytes:
        if self._session is None:
            # No bound on connections: their number is that of the requests at once.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, raise_for_status=True)
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            return await answer.read()


def deploy(
    file: PipelineFile, weights: Sequence[Delta], feast: str, settings: ServeSettings
) -> None:
    """Start it, with as many replicas and requests at once as a replica of ours has."""
    deployment = serve.deployment(
        name="ScoresByFeast",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        ray_actor_options={"num_cpus": 0.0},
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
    )(ScoresByFeast)
    serve.run(deployment.bind(file, weights, feast), name=APP_NAME, route_prefix="/")
