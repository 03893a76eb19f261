"""What learners with the default optimiser of before have left behind, as the present one has it.

`FTRL` without penalties takes the same steps as Adagrad, and keeps the same squares; its ``z`` says
the same as its weights do. So weights and squares go on, and what moves the rates begins anew.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.base import Optimizer, dense_state_width
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL

FORMER_DEFAULT = FTRL(alpha=0.1)

_ROWS = re.compile(r"(step_\d+_(before|evicted)_)?rows")
_DENSE = re.compile(r"(step_\d+_)?dense")


def former_of(optimizer: Optimizer) -> Optimizer | None:
    """The optimiser whose state one with `optimizer` goes on from, beside its own."""
    return FORMER_DEFAULT if optimizer == DEFAULT_OPTIMIZER else None


def converted(arrays: dict[str, NDArray[Any]], model: Model) -> dict[str, NDArray[Any]]:
    """The arrays of a checkpoint of `FORMER_DEFAULT` as `DEFAULT_OPTIMIZER` has them."""
    of_rows, of_dense = model.rows.width, model.dense_size
    more = dense_state_width(DEFAULT_OPTIMIZER, of_dense) - of_dense

    def one(name: str, array: NDArray[Any]) -> NDArray[Any]:
        if _ROWS.fullmatch(name):
            return np.ascontiguousarray(array[:, : 2 * of_rows])
        if _DENSE.fullmatch(name):
            return np.pad(array[:, : 2 * of_dense], ((0, 0), (0, more)))
        return array

    return {name: one(name, array) for name, array in arrays.items()}
