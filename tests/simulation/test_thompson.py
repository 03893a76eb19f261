"""The song that most would like is the last of a ranking that knows nothing yet: who finds it?

Seven others are liked by about a third of those who get them, enough to go on with them.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
from fake_clock import FakeClock

from freshrank import (
    Arm,
    Count,
    Entity,
    EpsilonGreedy,
    Experiment,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Thompson,
    col,
)
from freshrank.actors.impressions import ServedDraws, decode_impression, served_draws
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.experiments.reading import ReportRequest, read_report
from freshrank.deploy.experiments.report import ArmReport
from freshrank.deploy.served.topics import ServedLog
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.serve.experiments.exploration import Exploration
from freshrank.serve.explanation.explainer import Explainer

LIKED = {"s0": 0.4, **{f"s{number}": 0.3 for number in range(1, 7)}, "s7": 0.7}
ROUNDS, USERS = 25, 10


class Play(msgspec.Struct):
    id: str
    who: str
    song: str
    ts: int


who = Entity("who", key="who")
plays = Stream("plays", id="id", time="ts", key=who, schema=Play)


class Recent(FeatureView):
    entity, source = who, plays
    count = Count(windows=["1h"])


def songs(exploration: Exploration | None) -> Pipeline:
    """All users but one in ten thousand are in the arm that explores."""
    arms = [Arm("explores", 0.9999, explore=exploration), Arm("other", 0.0001)]
    return Pipeline(
        "songs",
        stream=plays,
        features=[Recent],
        context=["song"],
        model=LogisticRegression(base_rate=0.3),
        label=Joined(positive=col.song != "", on="song", within="1m"),
        experiments=[Experiment("exploring", arms)],
    )


class Lived(NamedTuple):
    """What came of it."""

    regret: float
    """Likes less than with the best song for everybody, as expected."""
    best: list[int]
    """Of each round, how many got the best song."""
    first_ranked: list[float]
    """Of each request, how much the song is liked that the model ranks first."""
    draws: list[ServedDraws]
    report: ArmReport
    explained: list[float]
    """What explanations say that scores are, less what answers do."""


async def live(exploration: Exploration | None, rounds: int = ROUNDS) -> Lived:
    pipeline, clock, log = songs(exploration), FakeClock(1_700_000_000_000), MemoryLog(2)
    system = LocalSystem(pipeline, Settings(), World(log, clock), batch_events=16)
    await system.start()
    system.replica.start()
    random, regret, best = np.random.default_rng(1), 0.0, list[int]()
    first_ranked, explained = list[float](), list[float]()
    explainer = Explainer(system.replica)
    for number in range(rounds * USERS):
        user, names = f"u{number}", list(LIKED)
        body = {"who": user, "candidates": [{"song": one} for one in names], "show": 1}
        request = msgspec.json.encode({**body, "min_version": system.newest})
        answer = await system.replica.score(request, f"r{number}")
        await asyncio.sleep(0)  # impressions are logged after the answer
        song = names[answer.ranking[0]]
        regret += LIKED["s7"] - LIKED[song]
        scores = np.array(answer.scores, np.float64)
        first_ranked.append(LIKED[names[int(scores.argmax())]])
        if number % USERS == 0:
            best.append(0)
            told = await explainer.explain(request)
            found = [one.score for one in told.candidates if one is not None]
            explained += (np.array(found) - scores).tolist()
        best[-1] += song == "s7"
        if random.random() < LIKED[song]:
            now = clock.now_ms() + 1
            play = msgspec.json.encode(Play(str(number), user, song, now))
            log.distribute("plays", [user.encode()], [play], np.array([now]))
        if number % USERS == USERS - 1:
            clock.advance(120)
            await system.drain()
    await system.replica.stop()
    await system.stop()
    read = ServedLog(pipeline, Settings(), 2, "", partial(MemorySource, log))
    report = await read_report(ReportRequest(read, 0.01, 1), lambda *_: None)
    (arm,) = (one for one in report.experiments[0].arms if one.arm == "explores")
    values = [log.read("songs.impressions", one, 0, 9_999).values for one in range(2)]
    drawn = [served_draws(decode_impression(one)) for two in values for one in two if one]
    draws = [one for one in drawn if one is not None]
    return Lived(regret, best, first_ranked, draws, arm, explained)


def test_what_greedy_never_finds_is_found_by_thompson_with_less_regret_than_by_epsilon() -> None:
    greedy, epsilon, thompson = (
        asyncio.run(live(one)) for one in (None, EpsilonGreedy(0.1), Thompson())
    )
    assert sum(greedy.best) == 0
    assert thompson.regret < 0.75 * min(epsilon.regret, greedy.regret)
    assert sum(thompson.best[-5:]) > 0.6 * 5 * USERS
    assert (greedy.report.off_policy, greedy.draws) == (None, [])

    found = thompson.report.off_policy
    assert found is not None
    assert found.lists == len(thompson.draws) == ROUNDS * USERS
    assert found.logged.value == thompson.report.clicks / found.lists
    wanted = np.mean(thompson.first_ranked)
    assert found.ips.low < wanted < found.ips.high
    assert found.dr.low < wanted < found.dr.high
    propensities = np.concatenate([one.propensities for one in thompson.draws])
    assert propensities.min() >= np.float32(1 / 129)
    first, last = propensities[: 5 * USERS].mean(), propensities[-5 * USERS :].mean()
    assert last > first, "surer of what it has learned"
    assert max(map(abs, thompson.explained)) < 1e-5, "explanations are of the weights that serve"


def test_the_same_requests_draw_the_same_weights_again() -> None:
    first, again = (asyncio.run(live(Thompson(), 6)) for _ in range(2))
    assert first.best == again.best
    assert [one.propensities.tolist() for one in first.draws] == [
        one.propensities.tolist() for one in again.draws
    ]
