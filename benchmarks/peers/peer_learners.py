"""Learns streams by Vowpal Wabbit and River with their defaults, predicting before learning.

    python peer_learners.py datasets FOLDER
    python peer_learners.py learn FOLDER [LEARNER ...]
    python peer_learners.py list

It needs Python and what `requirements.txt` beside it names, which it installs by pip into an
environment of its own (``~/.cache/freshrank/peers``; ``--environment`` names another). `datasets`
writes the five data sets that River brings along to FOLDER as streams; `learn` learns each stream
of FOLDER by each learner, or by those named, and writes the predictions and the seconds to
``STREAM.LEARNER.json`` beside it; `list` names the learners with the lines of code of each.

A stream is a file ``NAME.jsonl``: a line with ``kind`` (``binary``, ``class`` or ``number``) and
``classes``, then a line ``[inputs, label]`` for each row, the first first. Inputs are an object of
numbers and of texts; a label is 0 or 1, the place of a class, or a number. A prediction is the
probability of 1, a list with that of each class, or a number.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

Inputs: TypeAlias = Mapping[str, float | str]
Label: TypeAlias = float
Prediction: TypeAlias = float | Sequence[float]

ENVIRONMENT = Path.home() / ".cache" / "freshrank" / "peers"
REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")
RIVERS = ("Phishing", "Bananas", "ImageSegments", "TrumpApproval", "ChickWeights")
"""River's own data sets, by the names of their classes."""


class PeerLearner(Protocol):
    """Predicts a row, and learns it then."""

    def predict(self, inputs: Inputs) -> Prediction:
        """The probability of 1 or of each class, or the number."""
        ...

    def learn(self, inputs: Inputs, label: Label) -> None:
        """Learn the row that was predicted last."""
        ...


def vw_features(inputs: Inputs) -> str:
    """The inputs in the text format of Vowpal Wabbit: ``name:number`` and ``name=text``.

    >>> vw_features({"amount": 2.5, "shop": "a b:c|d"})
    'amount:2.5 shop=a_b_c_d'
    """
    found = []
    for name, value in inputs.items():
        if isinstance(value, str):
            found.append(f"{_plain(name)}={_plain(value)}")
        else:
            found.append(f"{_plain(name)}:{value!r}")
    return " ".join(found)


def _plain(text: str) -> str:
    return text.replace(" ", "_").replace(":", "_").replace("|", "_")


class VowpalWabbit:
    """A workspace with its defaults, but for the loss that the kind of labels asks for."""

    def __init__(self, kind: str, classes: int, options: str = "") -> None:
        if kind == "binary":
            options += " --loss_function logistic --link logistic"
        elif kind == "class":
            options += f" --oaa {classes} --loss_function logistic --probabilities"
        self._kind = kind
        self._vw = importlib.import_module("vowpalwabbit").Workspace(f"--quiet {options}")

    def predict(self, inputs: Inputs) -> Prediction:
        """See `PeerLearner`."""
        self._features = vw_features(inputs)
        found: Prediction = self._vw.predict(f"| {self._features}")
        return found

    def learn(self, inputs: Inputs, label: Label) -> None:
        """See `PeerLearner`."""
        if self._kind == "binary":
            label = 1 if label else -1
        elif self._kind == "class":
            label = int(label) + 1
        self._vw.learn(f"{label} | {self._features}")


class River:
    """A classifier or a regressor of River."""

    def __init__(self, kind: str, classes: int, made: Callable[[str], Any]) -> None:
        self._kind, self._classes, self._model = kind, classes, made(kind)

    def predict(self, inputs: Inputs) -> Prediction:
        """See `PeerLearner`; a class that it has not seen yet has the probability 0."""
        if self._kind == "number":
            return float(self._model.predict_one(inputs))
        found = self._model.predict_proba_one(inputs)
        if self._kind == "class":
            return [found.get(place, 0.0) for place in range(self._classes)]
        return float(found.get(True, 0.0 if found else 0.5))

    def learn(self, inputs: Inputs, label: Label) -> None:
        """See `PeerLearner`."""
        kinds = {"binary": bool, "class": int, "number": float}
        self._model.learn_one(inputs, kinds[self._kind](label))


def scaled_adagrad(kind: str) -> Any:
    """A linear model by Adagrad over standardised numbers and an indicator of each text."""
    parts = ("compose", "preprocessing", "linear_model", "optim", "multiclass")
    compose, preprocessing, linear, optim, multiclass = map(_river, parts)
    scaled = compose.SelectType(int, float) | preprocessing.StandardScaler()
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True)
    if kind == "number":
        return (scaled + texts) | linear.LinearRegression(optim.AdaGrad())
    model = linear.LogisticRegression(optim.AdaGrad())
    return (scaled + texts) | (multiclass.OneVsRestClassifier(model) if kind == "class" else model)


def adaptive_forest(kind: str) -> Any:
    """An adaptive random forest."""
    name = "ARFRegressor" if kind == "number" else "ARFClassifier"
    return getattr(_river("forest"), name)(seed=1)


def adaptive_tree(kind: str) -> Any:
    """A Hoeffding adaptive tree."""
    name = "Regressor" if kind == "number" else "Classifier"
    return getattr(_river("tree"), f"HoeffdingAdaptiveTree{name}")(seed=1)


def _river(module: str) -> Any:
    return importlib.import_module(f"river.{module}")


LEARNERS: Mapping[str, Callable[[str, int], PeerLearner]] = {
    "vw": VowpalWabbit,
    "vw_ftrl": lambda kind, classes: VowpalWabbit(kind, classes, "--ftrl"),
    "vw_q": lambda kind, classes: VowpalWabbit(kind, classes, "-q ::"),
    "river_adagrad": lambda kind, classes: River(kind, classes, scaled_adagrad),
    "river_arf": lambda kind, classes: River(kind, classes, adaptive_forest),
    "river_hat": lambda kind, classes: River(kind, classes, adaptive_tree),
}
"""By the names in the figures."""
_CODE: Mapping[str, tuple[Any, ...]] = {
    "vw": (vw_features, _plain, VowpalWabbit),
    "river_adagrad": (River, scaled_adagrad),
    "river_arf": (River, adaptive_forest),
    "river_hat": (River, adaptive_tree),
}


def lines_of_code() -> dict[str, int]:
    """How many lines of a user's code each learner takes, without those that are empty."""
    lines = {
        name: sum(
            bool(line.strip()) for part in parts for line in inspect.getsource(part).splitlines()
        )
        for name, parts in _CODE.items()
    }
    return {name: lines[name if name in lines else "vw"] for name in LEARNERS}


def learned(learner: PeerLearner, rows: Iterable[tuple[Inputs, Label]]) -> list[Prediction]:
    """What `learner` predicts for each row before it learns it."""
    found = []
    for inputs, label in rows:
        found.append(learner.predict(inputs))
        learner.learn(inputs, label)
    return found


def learn_stream(path: Path, names: Sequence[str]) -> None:
    """Learn the stream at `path` by each learner of `names`, and write what they predicted."""
    with path.open(encoding="utf-8") as lines:
        head = json.loads(next(lines))
        rows = [tuple(json.loads(line)) for line in lines]
    for name in names:
        learner = LEARNERS[name](head["kind"], len(head["classes"]))
        started = time.perf_counter()
        predictions = learned(learner, rows)
        seconds = time.perf_counter() - started
        text = json.dumps({"seconds": seconds, "predictions": predictions})
        path.with_suffix(f".{name}.json").write_text(text, encoding="utf-8")
        print(f"{path.stem}, {name}: {len(rows)} rows in {seconds:.1f} s", flush=True)


def stream_lines(rows: Iterable[tuple[Inputs, Any]]) -> Iterator[str]:
    """The lines of a stream of (inputs, label), its kind by the type of the labels.

    >>> list(stream_lines([({"x": 1.0}, "b"), ({"x": 2.0}, "a")]))[0]
    '{"kind": "class", "classes": ["a", "b"]}'
    """
    kept = list(rows)
    labels = [label for _, label in kept]
    classes = sorted(set(labels)) if isinstance(labels[0], str) else []
    kind = "class" if classes else "binary" if isinstance(labels[0], bool) else "number"
    yield json.dumps({"kind": kind, "classes": classes})
    for inputs, label in kept:
        yield json.dumps([inputs, classes.index(label) if classes else float(label)])


def write_datasets(folder: Path) -> None:
    """Write River's own data sets to `folder`."""
    for name in RIVERS:
        lines = stream_lines(getattr(_river("datasets"), name)())
        (folder / f"{name.lower()}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Do what the command line says, by the Python of the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["datasets", "learn", "list"])
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("learners", nargs="*", help="by default all")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    given = parser.parse_args()
    environments = importlib.import_module("environments")
    environments.enter(given.environment, REQUIREMENTS, __file__)
    if given.command == "list":
        print(json.dumps(lines_of_code()))
    elif given.command == "datasets":
        write_datasets(given.folder)
    else:
        for path in sorted(given.folder.glob("*.jsonl")):
            learn_stream(path, given.learners or list(LEARNERS))


if __name__ == "__main__":
    main()
