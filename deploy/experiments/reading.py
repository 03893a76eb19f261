"""Reads the logs of a pipeline for a report on its experiments."""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.deploy.experiments.intervals import CONFIDENCE
from freshrank.deploy.experiments.outcomes import PartitionOutcomes
from freshrank.deploy.experiments.report import PipelineReport, report_on
from freshrank.deploy.experiments.tally import ExperimentTally
from freshrank.deploy.served.partition_join import PartitionJoin
from freshrank.deploy.served.reading import Progress, joined_partitions
from freshrank.deploy.served.topics import ServedLog


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is about."""

    log: ServedLog
    expected_effect: float
    """A difference of rates: intervals at any time are narrowest for such a one."""
    positions: int
    """Items of each list that off-policy estimates are about."""


async def read_report(request: ReportRequest, progress: Progress) -> PipelineReport:
    """Read both topics and report on all experiments. Raises Unavailable and ConfigError.

    Memory is bounded: by the users, and by what waits for clicks in one partition.
    """
    pipeline, positions = request.log.pipeline, request.positions
    tallies = {one.name: ExperimentTally(one, positions) for one in pipeline.experiments}
    read = rejected = waiting = 0

    def outcomes(_: PartitionJoin) -> PartitionOutcomes:
        return PartitionOutcomes(tallies, positions)

    async for join in joined_partitions(request.log, outcomes, progress):
        read += join.counters.impressions
        rejected += join.rejected[join.impressions]
        waiting += join.joiner.pending
    return PipelineReport(
        pipeline=pipeline.name,
        confidence=CONFIDENCE,
        impressions=read,
        rejected=rejected,
        waiting=waiting,
        experiments=[report_on(tally, request.expected_effect) for tally in tallies.values()],
    )
