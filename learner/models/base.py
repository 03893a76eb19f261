"""The interface of models: a specification, bound to its inputs.

A user names a `ModelSpec` in a pipeline; `bind` settles all sizes and gives a `Model`: a flat
vector of dense weights (``p``), a table of rows (``w`` wide) that ids point to, and the functions
that turn both into an output for each row of inputs. A row of inputs is a vector of dense inputs
``x`` (``d``) and a pooled table row (`freshrank.learner.embeddings.pooling`) for each of the
``F`` id fields. The model's `Loss` defines the meaning of the output.

A pipeline file may declare a model of its own: any object with these members will do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

from freshrank.actors.messages import Floats, InputLayout, Ints
from freshrank.actors.messages.kept_layout import LayoutChange
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.losses import LogLoss, Loss

if TYPE_CHECKING:
    from torch import Tensor  # its type alone: importing it takes seconds and half a gigabyte

Array = TypeVar("Array", Floats, "Tensor")
"""An array of NumPy or a tensor of torch."""

SPURIOUS_FLAGS = np.errstate(invalid="ignore")
"""Decorates products of matrices: BLAS may compute lanes that it does not use, from whatever lies
there, and NumPy then warns of an invalid value though all inputs and outputs are finite
(numpy/numpy#24067). Weights and gradients that are not finite are found by the guard."""


@runtime_checkable
class Model(Protocol):
    """A specification bound to its inputs: all sizes are settled.

    It may also say what its inputs contribute to an output, as a `WithContributions` of
    `freshrank.learner.models.explanation.contributions`.
    """

    @property
    def layout(self) -> InputLayout:
        """The inputs that it was bound to."""
        ...

    @property
    def fingerprint(self) -> str:
        """Differs between models that cannot use the weights of each other."""
        ...

    @property
    def loss(self) -> Loss:
        """What its outputs are trained to make small, and the link to its predictions."""
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

    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        """float32[n] from dense weights [p], inputs [n, d] and pooled rows [n, F, w].

        Of a loss of ``c`` classes float32[n, c].

        Written with the operators and methods that NumPy and torch share, it serves with NumPy and
        is differentiated on a GPU by torch. Where it is not, the learner runs on the CPU only.
        """
        ...

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """The gradients of ``(outputs * upstream).sum()``: dense [p] and pooled [n, F, w]."""
        ...


@runtime_checkable
class WithLinearPart(Protocol):
    """A model whose outputs have a linear part, and maybe others.

    That is the bias (the first dense weight), the dense inputs times the dense weights after it,
    and the first column of each field's pooled row.
    """

    @property
    def linear_size(self) -> int:
        """The dense weights of the linear part: ``1 + d``."""
        ...


@runtime_checkable
class Rebindable(Model, Protocol):
    """A `Model` whose weights can be carried over to other inputs.

    Each of its dense weights belongs to an input, to several of them, or to none: so it has a place
    among the weights of the same model on other inputs.
    """

    def rebound(self, layout: InputLayout) -> Model:
        """The same specification and loss, bound to inputs of `layout`."""
        ...

    def places_before(self, change: LayoutChange) -> Ints:
        """int64[p]: the place that each dense weight had, on the inputs that there were before.

        -1 where it is of an input that is new, or is another one: it begins as in `initial`.
        """
        ...


@runtime_checkable
class ModelSpec(Protocol):
    """A model as a user names it in a pipeline, before its inputs are known.

    Its ``repr`` must be the same in every process and differ where the weights do (a frozen
    dataclass does both): the fingerprint is made of it.
    """

    def bind(self, layout: InputLayout) -> Model:
        """Settle the sizes for inputs of `layout`."""
        ...


def weights_fingerprint(model: Model) -> str:
    """The fingerprint of `model` and of how the learner cleans its inputs."""
    cleaning = model.layout.cleaning
    if not cleaning:
        return model.fingerprint
    return hashlib.sha256(f"{model.fingerprint} {cleaning!r}".encode()).hexdigest()[:16]


def moved(places: Ints, rows: Ints) -> Ints:
    """int64[n, ...]: those `rows` (int64[n]) of int64[m, ...] places; -1 where a row is -1.

    >>> moved(np.array([[5, 6], [7, 8]]), np.array([1, -1])).tolist()
    [[7, 8], [-1, -1]]
    """
    none = np.full((1, *places.shape[1:]), -1, dtype=np.int64)
    found: Ints = np.concatenate([places, none])[rows]
    return found


FIRST_WEIGHT = 1.0
"""That of a favourable input, in outputs per standard deviation: a logistic regression comes to 0.2
to 0.5 for sources of candidates. A quarter and half of it rank nearly as well."""


def first_weights(layout: InputLayout) -> Floats:
    """float32[d]: what a linear weight of each dense input starts at.

    Zero, but for those that are favourable. A model learns from what it has ranked first: with no
    idea of what speaks for an item it shows the wrong items, and gets no clicks to learn from.

    >>> first_weights(InputLayout(("price", "co_visited"), (), favourable=("co_visited",))).tolist()
    [0.0, 1.0]
    """
    known = np.isin(np.array(layout.dense, np.str_), np.array(layout.favourable, np.str_))
    return np.where(known, np.float32(FIRST_WEIGHT), np.float32(0.0))


def fingerprint_of(spec: object, layout: InputLayout, loss: Loss) -> str:
    """16 hexadecimal digits of a specification, the inputs it is bound to, and its loss.

    The log loss leaves no trace, so that checkpoints from before there were others stay readable.
    """
    text = f"{spec!r} {layout!r}"
    if loss != LogLoss():
        text += f" {loss!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
