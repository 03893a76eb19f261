"""What may have become of a state file."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import numpy as np
import safetensors.numpy

from freshrank.actors.snapshots.file_format import MadeFor, pack


def damaged(payload: bytes, kind: str, made_for: MadeFor) -> Iterator[tuple[str, bytes]]:
    """Versions of `payload` (of this kind, for these definitions) that must be refused, named."""
    for length in {*range(0, len(payload), max(1, len(payload) // 60)), len(payload) - 1}:
        yield f"truncated to {length}", payload[:length]
    for at in range(0, len(payload), max(1, len(payload) // 60)):
        yield f"a bit flipped at {at}", payload[:at] + bytes([payload[at] ^ 4]) + payload[at + 1 :]
    yield "longer", payload + b"\0"
    yield "zeros", bytes(len(payload))
    yield "foreign", safetensors.numpy.save({"rows": np.zeros(3)})
    yield "of another kind", b"".join(pack("other", made_for, {}, {}))
    with mock.patch("freshrank.actors.snapshots.file_format.FORMAT", 1_000):
        newer = b"".join(pack(kind, made_for, {}, {}))
    yield "newer", newer
