"""Whether the experiments of a pipeline can be used, and go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.retrieval.base import CandidateSource
from freshrank.serve.experiments.definitions import Experiment

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
