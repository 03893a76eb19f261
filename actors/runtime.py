"""The one Ray helper: start plain classes as actors, and make their handles satisfy our protocols.

Ray's errors end here. A peer that is dead, restarting or too slow becomes `Unavailable`, which
callers retry with a bound; an error of ours that was raised over there is raised here as itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from freshrank.actors.errors import FreshrankError, PartFailed, Unavailable
from freshrank.actors.messages import Cut, Delta, Examples, Gradient, Progress, Version
from freshrank.actors.protocols import ParameterSource

T = TypeVar("T")
Box: TypeAlias = "Delta | ray.ObjectRef[Delta]"
"""A delta itself when it is small, else where it lies in the object store."""

# Replies below 100 kB travel inside the answer (1.2 ms); larger ones would be copied to the
# object store by Ray once per follower. From here on we put them there ourselves, once.
_INLINE_BYTES = 64_000

# Deltas kept in the object store for followers that are a little behind; older ones are boxed
# again when somebody asks. Bounds the pinned memory to that many deltas.
_BOXES_KEPT = 32

# Beyond its own waiting time, a long poll may spend this long on the way.
_TRAVEL_S = 5.0


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """How an actor is placed."""

    name: str
    namespace: str
    num_cpus: float = 0.0
    """Reserved, not enforced. 0: a two-core laptop holds all parts."""
    num_gpus: float = 0.0
    restarts: bool = True
    """Whether Ray starts it again when it has died. Its death is then known only after some two
    seconds, else at once."""
    max_concurrency: int = 1000
    """Long polls each occupy a slot: many more than there are followers."""


def spawn(cls: type[T], options: ActorOptions, *args: object) -> RemoteActor:
    """Start `cls` as a named asyncio actor and give its address.

    Ray restarts it for ever with the same `args` (see `ActorOptions.restarts`); a call that was
    under way is never repeated by Ray (``max_task_retries=0``), because only the caller knows
    whether that is safe.
    """
    placed = ray.remote(cls).options(
        name=options.name,
        namespace=options.namespace,
        get_if_exists=True,
        max_restarts=-1 if options.restarts else 0,
        max_task_retries=0,
        enable_task_events=False,  # each call would leave a trace in the GCS: 60 MB in 140 s
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        max_concurrency=options.max_concurrency,
    )
    handle = placed.remote(*args)
    return RemoteActor(options.name, options.namespace, handle)


class RemoteActor:
    """The address of one named actor.

    Who started it owns it: Ray ends an actor whose owner lets go of the first handle, so that one
    is kept, and stays good when the actor is restarted. Others look it up again after its death.
    """

    def __init__(self, name: str, namespace: str, handle: object | None = None) -> None:
        self.name = name
        self._namespace = namespace
        self._owned = handle
        self._handle = handle

    def __reduce__(self) -> tuple[type[RemoteActor], tuple[str, str]]:
        return RemoteActor, (self.name, self._namespace)

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` and wait for its answer for at most `timeout_s`.

        Raises Unavailable, the FreshrankError that the method raised, or PartFailed.
        """
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(ray.get_actor, self.name, self._namespace)
            answer = getattr(self._handle, method).remote(*args)
            async with asyncio.timeout(timeout_s):  # wait_for may lose a cancellation
                return await answer
        except RayTaskError as error:
            if isinstance(error.cause, FreshrankError):
                raise error.cause from error
            raise PartFailed(f"{self.name}.{method}: {error}") from error
        except (TimeoutError, GetTimeoutError) as error:
            raise Unavailable(self.name, f"no answer to {method} in {timeout_s} s") from error
        except (RayActorError, ValueError) as error:  # ValueError: no actor of that name
            self._handle = self._owned
            raise Unavailable(self.name, _first_line(error)) from error
        except RayError as error:
            raise Unavailable(self.name, _first_line(error)) from error

    async def ping(self, timeout_s: float) -> None:
        """Ask whether all is well over there. Raises Unavailable, or what is not well."""
        await self.call("ping", timeout_s=timeout_s)

    def kill(self) -> None:
        """End its process at once; Ray starts it again."""
        if self._handle is not None:
            ray.kill(cast(Any, self._handle), no_restart=False)


class BoxedParameters:
    """On the learner's side: what followers in other processes are answered."""

    def __init__(self, source: ParameterSource) -> None:
        self._source = source
        self._boxes: OrderedDict[tuple[Version | None, Version], ray.ObjectRef[Delta]] = (
            OrderedDict()
        )

    async def newer_than(self, version: Version | None, timeout_s: float) -> list[Box]:
        """`ParameterSource.newer_than`, with each large delta in the object store once."""
        return [self._box(delta) for delta in await self._source.newer_than(version, timeout_s)]

    def _box(self, delta: Delta) -> Box:
        if delta.dense.nbytes + delta.keys.nbytes + delta.rows.nbytes < _INLINE_BYTES:
            return delta
        key = (delta.base, delta.version)
        box = self._boxes.get(key)
        if box is None:
            box = self._boxes[key] = ray.put(delta)
            while len(self._boxes) > _BOXES_KEPT:
                self._boxes.popitem(last=False)
        return box


class RemoteLearner:
    """A learner in another process, as GradientSink and as ParameterSource."""

    def __init__(self, actor: RemoteActor, push_timeout_s: float) -> None:
        self._actor = actor
        self._push_timeout_s = push_timeout_s

    async def push(self, work: Gradient | Examples) -> Progress:
        """Offer a span. Raises Unavailable: then nobody knows whether it was taken."""
        answer = await self._actor.call("push", work, timeout_s=self._push_timeout_s)
        return cast(Progress, answer)

    async def progress(self, partition: int) -> Progress:
        """What has been applied of `partition`. Raises Unavailable."""
        answer = await self._actor.call("progress", partition, timeout_s=self._push_timeout_s)
        return cast(Progress, answer)

    async def applied(self) -> Mapping[int, Cut]:
        """How far each partition has been applied. Raises Unavailable."""
        answer = await self._actor.call("applied", timeout_s=self._push_timeout_s)
        return cast(Mapping[int, Cut], answer)

    async def newer_than(self, version: Version | None, timeout_s: float) -> list[Delta]:
        """The deltas that lead on from `version`. Raises Unavailable."""
        boxes = cast(
            list[Box],
            await self._actor.call(
                "newer_than", version, timeout_s, timeout_s=timeout_s + _TRAVEL_S
            ),
        )
        return [await self._open(box) for box in boxes]

    async def _open(self, box: Box) -> Delta:
        if isinstance(box, Delta):
            return box
        try:
            async with asyncio.timeout(_TRAVEL_S):
                return await box
        except (TimeoutError, RayError) as error:  # its owner, the learner, has died meanwhile
            raise Unavailable(self._actor.name, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
