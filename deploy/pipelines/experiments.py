"""Whether the experiments of a pipeline can be used, and go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.retrieval.base import CandidateSource
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.uncertainty import unknown_uncertainty
from freshrank.serve.experiments.definitions import Arm, Experiment

MOST_EXPERIMENTS = 20
"""Each impression names its arm in each."""


def check_experiments(
    place: str,
    experiments: Sequence[Experiment],
    sources: Sequence[CandidateSource],
    label: Joined | Labelled,
) -> None:
    """Raise ConfigError for experiments that cannot be used with these sources and this label."""
    place = f"{place}.experiments"
    declared: object = experiments
    if isinstance(declared, str) or not isinstance(declared, Sequence):
        raise ConfigError(place, "no list of experiments", "Write experiments=[Experiment(...)].")
    if len(experiments) > MOST_EXPERIMENTS:
        raise ConfigError(
            place, f"there are {len(experiments)}", f"Leave at most {MOST_EXPERIMENTS}."
        )
    if experiments and not isinstance(label, Joined):
        raise ConfigError(
            place,
            "events carry their own labels, so nothing tells what an arm has shown",
            "Join the label with impressions: label=Joined(...).",
        )
    for number, experiment in enumerate(experiments):
        here = f"{place}[{number}]"
        if not isinstance(experiment, Experiment):
            raise ConfigError(here, f"{experiment!r} is no experiment", "Write Experiment(...).")
        experiment.check(here)
        if experiment.name in [one.name for one in experiments[:number]]:
            raise ConfigError(f"{here}.name", f"{experiment.name!r} is there already", "Rename it.")
        _check_candidates(here, experiment, sources)
    _check_once(place, experiments, "candidates", lambda one: one.of_candidates)
    _check_once(place, experiments, "explore", lambda one: one.explores)
    _check_once(place, experiments, "pinned", lambda one: one.pins)


def samples_weights(experiments: Sequence[Experiment]) -> bool:
    """Whether the lists of an arm explore by the uncertainty of the model's weights."""
    return any(_samples(arm) for experiment in experiments for arm in experiment.arms)


def check_uncertainty(
    place: str, experiments: Sequence[Experiment], model: Model, optimizer: Optimizer
) -> None:
    """Raise ConfigError where an arm needs the uncertainty of weights, and it is not known."""
    if not samples_weights(experiments):
        return
    arms = [
        (f"{place}.experiments[{number}].arms[{index}]", arm)
        for number, experiment in enumerate(experiments)
        for index, arm in enumerate(experiment.arms)
    ]
    sampling, exploration = next((here, arm.explore) for here, arm in arms if _samples(arm))
    unknown = unknown_uncertainty(model, optimizer)
    if unknown is not None:
        raise ConfigError(
            f"{sampling}.explore",
            f"{exploration!r} draws weights by their uncertainty, and {unknown.reason}",
            f"{unknown.fix}, or explore=Softmax(0.02).",
        )
    for here, arm in arms:
        if arm.pinned is not None:
            raise ConfigError(
                f"{here}.pinned",
                f"of pinned weights no uncertainty is kept, and {exploration!r} draws by it",
                "Leave it out, or explore by explore=Softmax(0.02).",
            )


def _samples(arm: Arm) -> bool:
    return arm.explore is not None and arm.explore.sampling is not None


def _check_candidates(
    place: str, experiment: Experiment, sources: Sequence[CandidateSource]
) -> None:
    known = [source.name for source in sources if isinstance(source, CandidateSource)]
    for number, arm in enumerate(experiment.arms):
        here = f"{place}.arms[{number}].candidates"
        asked: object = arm.candidates
        if asked is None:
            continue
        if isinstance(asked, str) or not isinstance(asked, Sequence) or not asked:
            raise ConfigError(
                here, f"{asked!r} is no list of sources", "List some, or leave it out for all."
            )
        for index, source in enumerate(asked):
            if source not in sources:
                there = did_you_mean(source, known) if known else "It has none."
                raise ConfigError(
                    f"{here}[{index}]",
                    f"{source!r} is no source of the pipeline",
                    f"Add it to `candidates` of the pipeline, too. {there}",
                )


def _check_once(
    place: str,
    experiments: Sequence[Experiment],
    what: str,
    sets: Callable[[Experiment], bool],
) -> None:
    """Two experiments that set the same would each decide what the other measures."""
    setting = [number for number, one in enumerate(experiments) if sets(one)]
    if len(setting) > 1:
        raise ConfigError(
            f"{place}[{setting[1]}]",
            f"arms of {experiments[setting[0]].name!r} set {what!r}, too",
            "Make arms of one experiment of both, one for each pair.",
        )
