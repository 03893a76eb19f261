"""How a score came about: what each named input adds to the model's output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from freshrank.actors.messages import Doubles, InputLayout, Inputs
from freshrank.actors.protocols import Scorer


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the score of one input row is made of: ``base + contributions + residual = output``.

    >>> from freshrank.actors.messages import IdField
    >>> one = Explanation(
    ...     InputLayout(("price",), (IdField("item"),)),
    ...     score=0.5, output=0.0, base=-1.0, dense=np.array([0.75]), fields=np.array([0.25]),
    ...     is_logit=True,
    ... )
    >>> one.residual, one.sizes()
    (0.0, {'price': 0.75, 'item': 0.25})
    """

    layout: InputLayout
    """Names the inputs."""
    score: float
    """The prediction."""
    output: float
    """The model's raw output, of which its link makes the prediction."""
    base: float
    """The output of dense inputs that are all at their mean, without any id."""
    dense: Doubles
    """float64[d]: what each dense input adds to the base."""
    fields: Doubles
    """float64[F]: what each id field adds, all ids of a bag together."""
    is_logit: bool
    """Whether the output is the log-odds of a probability; else it is as the model's link has it,
    of a regression the prediction itself, in the unit of the labels."""
    of_class: str | None = None
    """The likeliest class, whose probability and output these are; None where there are none."""

    @property
    def residual(self) -> float:
        """What of the output base and contributions leave over: rounding, or too rough a sum."""
        return self.output - self.base - float(np.sum(self.dense)) - float(np.sum(self.fields))

    def sizes(self) -> dict[str, float]:
        """By input, the size of its contribution, whatever its sign."""
        names = (*self.layout.dense, *(field.name for field in self.layout.fields))
        sizes = np.abs(np.concatenate([self.dense, self.fields])).tolist()
        return dict(zip(names, sizes, strict=True))


class ExplainingScorer(Scorer, Protocol):
    """A scorer that can also say how its scores come about."""

    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        """The explanation of each row, by the weights that there are when it is called.

        Each is computed when it is asked for: the caller may let others work in between.
        """
        ...
