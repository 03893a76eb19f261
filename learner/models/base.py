"""The models: what a user names in a pipeline, and their mathematics in NumPy.

A model is one flat vector of dense weights (``p``) and one table of rows (``w`` wide) that its
ids point to. Both models see a row as dense inputs ``x`` (``d``) and one pooled table row
(`freshrank.learner.embeddings.pooling`) for each of the ``F`` id fields. They end in a
logit; the loss is the log loss, whose gradient with respect to the logit is
``probability - label``.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from freshrank.actors.messages import Floats, InputLayout
from freshrank.learner.embeddings.table import RowInit


class Model(Protocol):
    """A specification that knows its inputs: all sizes are settled."""

    @property
    def layout(self) -> InputLayout:
        """Of the inputs it was bound to."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever weights of the one could not be used by the other."""
        ...

    @property
    def dense_size(self) -> int:
        """``p``."""
        ...

    @property
    def rows(self) -> RowInit:
        """Width ``w`` and initial values of the table's rows."""
        ...

    def initial(self) -> Floats:
        """float32[p]: the dense weights before the first step, the same in every process."""
        ...

    def logits(self, dense: Floats, x: Floats, pooled: Floats) -> Floats:
        """float32[n] from dense weights [p], inputs [n, d] and pooled rows [n, F, w]."""
        ...

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """The gradients of ``(logits * upstream).sum()``: dense [p] and pooled [n, F, w]."""
        ...


def fingerprint_of(spec: object, layout: InputLayout) -> str:
    """Of a specification and the inputs it is bound to: 16 hexadecimal digits."""
    return hashlib.sha256(f"{spec!r} {layout!r}".encode()).hexdigest()[:16]
