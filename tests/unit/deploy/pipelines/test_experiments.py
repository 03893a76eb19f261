from dataclasses import replace
from typing import Any

import pytest
from small_catalogue import PIPELINE, Recent

from freshrank import (
    SGD,
    Arm,
    CoVisited,
    EpsilonGreedy,
    Experiment,
    Labelled,
    LinearSVM,
    Newest,
    Softmax,
    Thompson,
    col,
)
from freshrank.actors.errors import ConfigError
from freshrank.deploy.pipelines.experiments import samples_weights

CONTROL, FRESH = Arm("control", share=0.5), Arm("fresh", share=0.5)


def experiment(*arms: Any, name: Any = "sources") -> Experiment:
    return Experiment(name, arms=arms)


def an_arm(**changes: Any) -> Arm:
    fields: dict[str, Any] = {"name": "f", "share": 0.5} | changes
    return Arm(**fields)


def experiment_of(arms: Any) -> Experiment:
    return Experiment("one", arms)


@pytest.mark.parametrize(
    ("experiments", "place", "says"),
    [
        (Experiment("a", [CONTROL]), "experiments", "no list of experiments"),
        (["sources"], "experiments[0]", "is no experiment"),
        ([experiment(CONTROL, FRESH, name="A b")], "experiments[0].name", "'A b'"),
        (
            [experiment(CONTROL, FRESH), experiment(CONTROL, FRESH)],
            "experiments[1].name",
            "'sources' is there already",
        ),
        ([experiment_of("ab")], "experiments[0].arms", "no list of arms"),
        ([experiment(CONTROL)], "experiments[0].arms", "there are 1"),
        ([experiment(CONTROL, "fresh")], "experiments[0].arms[1]", "is no arm"),
        ([experiment(CONTROL, CONTROL)], "experiments[0].arms[1].name", "'control'"),
        ([experiment(CONTROL, Arm("", 0.5))], "experiments[0].arms[1].name", "''"),
        ([experiment(CONTROL, Arm("f", 0.6))], "experiments[0].arms", "1.1"),
        ([experiment(CONTROL, Arm("f", 0.0))], "experiments[0].arms[1].share", "0.0"),
        ([experiment(CONTROL, an_arm(share="half"))], "experiments[0].arms[1].share", "'half'"),
        (
            [experiment(CONTROL, an_arm(explore=0.1))],
            "experiments[0].arms[1].explore",
            "0.1 is no exploration",
        ),
        ([experiment(CONTROL, an_arm(pinned="7"))], "experiments[0].arms[1].pinned", "'7'"),
        ([experiment(CONTROL, an_arm(pinned=1.5))], "experiments[0].arms[1].pinned", "1.5"),
        (
            [
                experiment(CONTROL, an_arm(pinned="1.5")),
                experiment(CONTROL, an_arm(pinned="1.6"), name="other"),
            ],
            "experiments[1]",
            "arms of 'sources' set 'pinned', too",
        ),
        (
            [experiment(CONTROL, Arm("f", 0.5, candidates=[]))],
            "experiments[0].arms[1].candidates",
            "no list of sources",
        ),
        (
            [experiment(CONTROL, Arm("f", 0.5, candidates=[CoVisited("users", learned=False)]))],
            "experiments[0].arms[1].candidates[0]",
            "is no source of the pipeline",
        ),
        (
            [
                experiment(CONTROL, Arm("f", 0.5, explore=Softmax(0.1))),
                experiment(CONTROL, Arm("f", 0.5, explore=EpsilonGreedy(0.1)), name="other"),
            ],
            "experiments[1]",
            "arms of 'sources' set 'explore', too",
        ),
        (
            [
                experiment(CONTROL, Arm("f", 0.5, candidates=[Newest()])),
                experiment(CONTROL, Arm("f", 0.5, candidates=[CoVisited("users")]), name="other"),
            ],
            "experiments[1]",
            "arms of 'sources' set 'candidates', too",
        ),
        ([experiment(CONTROL, FRESH, name=f"e{n}") for n in range(21)], "experiments", "21"),
    ],
)  # fmt: skip
def test_each_mistake_with_experiments_is_named(experiments: Any, place: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(PIPELINE, experiments=experiments)
    assert caught.value.place == f"Pipeline('shop').{place}"
    assert says in str(caught.value)
    assert caught.value.fix.endswith(".")


THOMPSON = experiment(CONTROL, Arm("f", 0.5, explore=Thompson(0.5)))


@pytest.mark.parametrize(
    ("changed", "place", "says", "fix"),
    [
        (
            {"optimizer": SGD()},
            "experiments[1].arms[1].explore",
            "Thompson(scale=0.5, prior=1.0, samples=128) draws weights by their uncertainty, and "
            "SGD(rate=0.01) keeps no squared gradients",
            "Take optimizer=AutoAdagrad(), Adagrad(), FTRL() or Adam(), or explore=Softmax(0.02).",
        ),
        (
            {"model": LinearSVM()},
            "experiments[1].arms[1].explore",
            "this model's is HingeLoss()",
            "Take model=LogisticRegression() or DeepFM() with their own loss, or "
            "explore=Softmax(0.02).",
        ),
        (
            {"experiments": [experiment(CONTROL, an_arm(pinned="1.5"), name="a"), THOMPSON]},
            "experiments[0].arms[1].pinned",
            "of pinned weights no uncertainty is kept",
            "Leave it out, or explore by explore=Softmax(0.02).",
        ),
    ],
    ids=["optimizer", "model", "pinned"],
)
def test_weights_of_unknown_uncertainty_are_not_drawn(
    changed: dict[str, Any], place: str, says: str, fix: str
) -> None:
    placebo = experiment(CONTROL, FRESH, name="placebo")
    with pytest.raises(ConfigError) as caught:
        replace(PIPELINE, **{"experiments": [placebo, THOMPSON], **changed})
    assert caught.value.place == f"Pipeline('shop').{place}"
    assert says in str(caught.value)
    assert caught.value.fix == fix


def test_weights_are_drawn_where_an_arm_wants_it() -> None:
    assert samples_weights(replace(PIPELINE, experiments=[THOMPSON]).experiments)
    softmax = experiment(CONTROL, Arm("f", 0.5, explore=Softmax(0.1)))
    assert not samples_weights(replace(PIPELINE, experiments=[softmax]).experiments)


def test_events_with_labels_of_their_own_tell_nothing_of_arms() -> None:
    with pytest.raises(ConfigError, match="nothing tells what an arm has shown"):
        replace(
            PIPELINE,
            label=Labelled(positive=col.kind == "order"),
            features=[Recent],
            tables=[],
            context=["item"],
            candidates=[],
            experiments=[experiment(CONTROL, FRESH)],
        )


def test_experiments_change_no_state() -> None:
    tried = replace(
        PIPELINE,
        experiments=[
            experiment(CONTROL, Arm("f", 0.5, candidates=[Newest()], explore=Softmax(0.1))),
            experiment(CONTROL, FRESH, name="placebo"),
        ],
    )
    assert tried.made_for.fingerprint == PIPELINE.made_for.fingerprint
    assert tried.encoder.fingerprint == PIPELINE.encoder.fingerprint
