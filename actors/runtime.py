"""The one Ray helper: start plain classes as actors, and make their handles satisfy our protocols.

Ray's errors end here. A peer that is dead, restarting or too slow becomes `Unavailable`, which
callers retry with a bound; an error of ours that was raised over there is raised here as itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError, RayTaskError
from ray.util import list_named_actors

from freshrank.actors.errors import FreshrankError, Gone, PartFailed, Unavailable
from freshrank.actors.messages import Delta, Examples, Gradient, Progress, SourceOffsets, Version

T = TypeVar("T")
BoxedDelta: TypeAlias = "Delta | ray.ObjectRef[Delta]"
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

    role: str
    namespace: str
    num_cpus: float = 0.0
    """Reserved, not enforced. 0: a two-core laptop holds all parts."""
    num_gpus: float = 0.0
    max_concurrency: int = 1000
    """Long polls each occupy a slot: many more than there are followers."""


def spawn(cls: type[T], options: ActorOptions, *args: object) -> RemoteActor:
    """Start `cls` as an asyncio actor of a role, and give its address.

    Ray does not start it again when it has died (it would tell of the death only after two
    seconds): whoever holds the address starts another. A call that was under way is never repeated
    by Ray, because only the caller knows whether that is safe.
    """
    # Of one length, and growing: the names of a role are in the order of their start.
    name = f"{options.role}-{time.time_ns()}"
    placed = ray.remote(cls).options(
        name=name,
        namespace=options.namespace,
        max_restarts=0,
        max_task_retries=0,
        enable_task_events=False,  # each call would leave a trace in the GCS: 60 MB in 140 s
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        max_concurrency=options.max_concurrency,
    )
    return RemoteActor(name, placed.remote(*args))


class Address(Protocol):
    """Where calls go."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` and wait for its answer for at most `timeout_s`.

        Raises Unavailable, the FreshrankError that the method raised, or PartFailed.
        """
        ...


class RemoteActor:
    """The address of one process. Ray ends an actor when whoever started it lets go of this."""

    def __init__(self, name: str, handle: object) -> None:
        self.name = name
        self._handle = handle

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """See `Address`. Raises Gone when the process has ended."""
        try:
            answer = getattr(self._handle, method).remote(*args)
            async with asyncio.timeout(timeout_s):  # wait_for may lose a cancellation
                return await answer
        except RayTaskError as error:
            if isinstance(error.cause, FreshrankError):
                raise error.cause from error
            raise PartFailed(f"{self.name}.{method}: {error}") from error
        except (TimeoutError, GetTimeoutError) as error:
            raise Unavailable(self.name, f"no answer to {method} in {timeout_s} s") from error
        except ActorDiedError as error:
            raise Gone(self.name, _first_line(error)) from error
        except RayError as error:
            raise Unavailable(self.name, _first_line(error)) from error

    def kill(self) -> None:
        """End its process at once."""
        ray.kill(cast(Any, self._handle))


class RemoteRole:
    """The address of whoever has a role: of its actors that live, the one that was started first.

    Those started later stand by. Whose answer fails is looked up again with the next call.
    """

    def __init__(self, role: str, namespace: str) -> None:
        self.name = role
        self._namespace = namespace
        self._actor: RemoteActor | None = None

    def __reduce__(self) -> tuple[type[RemoteRole], tuple[str, str]]:
        return RemoteRole, (self.name, self._namespace)

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """See `Address`."""
        try:
            if self._actor is None:
                self._actor = await asyncio.to_thread(self._find)
            return await self._actor.call(method, *args, timeout_s=timeout_s)
        except Unavailable:
            self._actor = None
            raise

    def _find(self) -> RemoteActor:
        """Ask Ray. Blocks for milliseconds; raises Unavailable."""
        try:
            named = cast(Callable[..., list[dict[str, str]]], list_named_actors)
            names = [
                one["name"]
                for one in named(all_namespaces=True)
                if one["namespace"] == self._namespace and one["name"].startswith(f"{self.name}-")
            ]
            if not names:
                raise Unavailable(self.name, "nobody is there")
            return RemoteActor(self.name, ray.get_actor(min(names), self._namespace))
        except (RayError, ValueError) as error:  # ValueError: it has ended meanwhile
            raise Unavailable(self.name, _first_line(error)) from error


class ObjectRefCache:
    """On the learner's side: what followers in other processes are sent."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[tuple[Version | None, Version], ray.ObjectRef[Delta]] = (
            OrderedDict()
        )

    def pack(self, deltas: Sequence[Delta], *, anew: bool = False) -> list[BoxedDelta]:
        """The same, with each large one in the object store once.

        `anew`: what was there may be damaged and is not given again.
        """
        if anew:
            self._boxes.clear()
        return [self._pack(delta) for delta in deltas]

    def _pack(self, delta: Delta) -> BoxedDelta:
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

    def __init__(self, actor: Address, push_timeout_s: float) -> None:
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

    async def applied(self) -> Mapping[int, SourceOffsets]:
        """How far each partition has been applied. Raises Unavailable."""
        answer = await self._actor.call("applied", timeout_s=self._push_timeout_s)
        return cast(Mapping[int, SourceOffsets], answer)

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """The deltas that lead on from `version`. Raises Unavailable."""
        boxes = cast(
            list[BoxedDelta],
            await self._actor.call(
                "newer_than", version, timeout_s, refused, timeout_s=timeout_s + _TRAVEL_S
            ),
        )
        return [await self._open(box) for box in boxes]

    async def _open(self, box: BoxedDelta) -> Delta:
        if isinstance(box, Delta):
            return box
        try:
            async with asyncio.timeout(_TRAVEL_S):
                return await box
        except (TimeoutError, RayError) as error:  # its owner, the learner, has died meanwhile
            raise Unavailable(self._actor.name, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
