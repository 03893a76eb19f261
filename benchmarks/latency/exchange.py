"""How long until an event can be read in the row of its item, through the exchange.

The topic is keyed by the user. A feature shard copies its records to where their items belong, and
applies the copies to features of items; both run in a process of their own, on real Kafka and real
Redis, beside the features of users. What is measured, and how, is that of `rows`: probes in an open
loop beside a thousand and five thousand events a second, each of an item without another event.
"""

from __future__ import annotations

from rich.console import Console

from freshrank.benchmarks.latency.rows.bench import measure_each
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.throughput import ingest_host


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Measure rows of items at each rate."""
    return measure_each(options, console, (ingest_host.ITEM,))
