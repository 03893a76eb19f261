r"""One backfill in a process of its own: the state that a file of events makes.

    python -m freshrank.benchmarks.throughput.backfill_host FILE [NAME]

prints the CPU time of an event in microseconds, of reading, decoding and applying it. The state is
in memory: nothing is written. The events are the demo's, or with NAME those of a `RealHistory`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from freshrank.benchmarks.workloads.histories.real_history import REAL
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.arrivals import HistoryTally
from freshrank.deploy.history.reader import HistoryReader
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.wiring.backfill import Backfill, Target


def event_us(file: Path, pipeline_file: PipelineFile | None = None) -> float:
    """Fill a state from `file`; gives the CPU time of an event in microseconds.

    The pipeline is that of `pipeline_file`, by default the demo's.

    The first events are read once before, which loads every kernel from its cache.
    """
    pipeline, settings = (pipeline_file or shop_file()).load(), Settings()
    target = Target(dict.fromkeys(pipeline.plans, settings.kafka.partitions))
    reader, entities = HistoryReader(pipeline, [file]), list(pipeline.plans)
    warm = Backfill(pipeline, settings, target)
    for first in reader.merged(entities, HistoryTally(), warm.numbered):
        warm.take(first)
        break
    made, tally = Backfill(pipeline, settings, target), HistoryTally()
    began = time.process_time()
    for arrivals in reader.merged(entities, tally, made.numbered):
        made.take(arrivals)
    seconds = time.process_time() - began
    tally.check()
    return seconds / tally.records * 1e6


def main() -> None:
    """Read the argument, measure, print."""
    path, *names = sys.argv[1:]
    file = Path(path)
    chosen = [REAL[name].file(file.stem, name) for name in names]
    sys.stdout.write(repr(event_us(file, *chosen)))


if __name__ == "__main__":
    main()
