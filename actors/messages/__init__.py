"""The messages between processes: small frozen dataclasses and arrays with named axes.

Axes: ``n`` rows (events, examples or candidates), ``d`` dense inputs, ``f`` id columns, ``u``
distinct ids, ``w`` the width of one table row, ``p`` dense weights. Times are Unix times in ms.

All are imported from here; the modules of the package are its own affair.
"""

from freshrank.actors.messages.arrays import Bools, Doubles, Floats, Ints
from freshrank.actors.messages.delta import Delta
from freshrank.actors.messages.examples import Examples
from freshrank.actors.messages.gradient import Gradient, Probes
from freshrank.actors.messages.model_inputs import IdField, InputLayout, Inputs
from freshrank.actors.messages.offsets import BEGINNING, Ids, OffsetRange, SourceOffsets, dominates
from freshrank.actors.messages.version import Version

__all__ = [
    "BEGINNING",
    "Bools",
    "Delta",
    "Doubles",
    "Examples",
    "Floats",
    "Gradient",
    "IdField",
    "Ids",
    "InputLayout",
    "Inputs",
    "Ints",
    "OffsetRange",
    "Probes",
    "SourceOffsets",
    "Version",
    "dominates",
]
