"""Plain classes as Ray actors: starting them, calling them, and a learner in another process.

Ray's errors end here. An actor that is dead, starting or too slow is `Unavailable`, which callers
retry with a bound. A FreshrankError that a method raises is raised in the caller as itself.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError, RayTaskError
from ray.util import list_named_actors

from freshrank.actors.errors import FreshrankError, Gone, PartFailed, Unavailable
from freshrank.actors.messages import Delta, Examples, Gradient, SourceOffsets, Version
from freshrank.actors.protocols import Progress

T = TypeVar("T")
BoxedDelta: TypeAlias = "Delta | ray.ObjectRef[Delta]"
"""A small delta itself, or the reference of a large delta in Ray's object store."""

# Bytes from which a delta is put into the object store, once. Ray sends answers below 100 kB inline
# (1.2 ms), and would put a larger answer there once for each follower.
_INLINE_BYTES = 64_000

# Deltas that stay in the object store for followers that are behind; an older delta is put there
# again when a follower asks for it. Bounds the pinned memory.
_MAX_REFS = 32

# Seconds that an answer may take beyond the time that the learner itself waits.
_TRANSFER_S = 5.0


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """How Ray places an actor."""

    role: str
    namespace: str
    num_cpus: float = 0.0
    """Reserved, not enforced. 0: a two-core laptop holds all parts."""
    num_gpus: float = 0.0
    max_concurrency: int = 1000
    """Calls at the same time, each follower's long poll among them: many more than followers."""


def spawn(cls: type[T], options: ActorOptions, *args: object) -> RemoteActor:
    """Start `cls` as an asyncio actor of a role; returns its address.

    Ray does not restart a dead actor, because it reports the death only after two seconds: the
    holder of the address starts another. Ray never repeats a call: only the caller knows whether
    that is safe.
    """
    # Names of a role sort by their start: the number has always the same length.
    name = f"{options.role}-{time.time_ns()}"
    placed = ray.remote(cls).options(
        name=name,
        namespace=options.namespace,
        max_restarts=0,
        max_task_retries=0,
        enable_task_events=False,  # events of all calls would take 60 MB of the GCS in 140 s
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        max_concurrency=options.max_concurrency,
    )
    return RemoteActor(name, placed.remote(*args))


class Address(Protocol):
    """The address of calls: an actor, or the actor that has a role."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` and wait for its answer, at most `timeout_s`.

        Raises Unavailable, the FreshrankError that the method raised, or PartFailed.
        """
        ...


class RemoteActor:
    """The address of an actor. Ray ends an actor when the address that started it is dropped."""

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
        """Kill its process."""
        ray.kill(cast(Any, self._handle))


class RemoteRole:
    """The address of the actor that has a role: of the living actors, the first that was started.

    The others are hot standbys. After a failed call the next call looks the actor up again.
    """

    def __init__(self, role: str, namespace: str) -> None:
        self.name = role
        self.namespace = namespace
        self._actor: RemoteActor | None = None

    def __reduce__(self) -> tuple[type[RemoteRole], tuple[str, str]]:
        return RemoteRole, (self.name, self.namespace)

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
        """The actor, asked of Ray. Blocks for milliseconds; raises Unavailable."""
        try:
            named = cast(Callable[..., list[dict[str, str]]], list_named_actors)
            names = [
                actor["name"]
                for actor in named(all_namespaces=True)
                if actor["namespace"] == self.namespace
                and actor["name"].startswith(f"{self.name}-")
            ]
            if not names:
                raise Unavailable(self.name, "no actor of this role is alive")
            return RemoteActor(self.name, ray.get_actor(min(names), self.namespace))
        except (RayError, ValueError) as error:  # ValueError: it has just ended
            raise Unavailable(self.name, _first_line(error)) from error


class ObjectRefCache:
    """The learner's side of large deltas: each is put into Ray's object store once."""

    def __init__(self) -> None:
        self._refs: OrderedDict[tuple[Version | None, Version], ray.ObjectRef[Delta]] = (
            OrderedDict()
        )

    def box(self, deltas: Sequence[Delta]) -> list[BoxedDelta]:
        """The form in which `deltas` are sent to followers in other processes."""
        return [self._box(delta) for delta in deltas]

    def invalidate(self) -> None:
        """Drop all references: their objects may be damaged."""
        self._refs.clear()

    def _box(self, delta: Delta) -> BoxedDelta:
        if delta.nbytes < _INLINE_BYTES:
            return delta
        key = (delta.base, delta.version)
        ref = self._refs.get(key)
        if ref is None:
            ref = self._refs[key] = ray.put(delta)
            while len(self._refs) > _MAX_REFS:
                self._refs.popitem(last=False)
        return ref


class RemoteLearner:
    """A learner in another process; satisfies GradientSink and ParameterSource."""

    def __init__(self, actor: Address, push_timeout_s: float) -> None:
        self._actor = actor
        self._push_timeout_s = push_timeout_s

    async def push(self, work: Gradient | Examples) -> Progress:
        """See `GradientSink`. Raises Unavailable."""
        answer = await self._actor.call("push", work, timeout_s=self._push_timeout_s)
        return cast(Progress, answer)

    async def progress(self, partition: int) -> Progress:
        """See `GradientSink`. Raises Unavailable."""
        answer = await self._actor.call("progress", partition, timeout_s=self._push_timeout_s)
        return cast(Progress, answer)

    async def applied(self) -> Mapping[int, SourceOffsets]:
        """By partition: the next offsets that the learner takes. Raises Unavailable."""
        answer = await self._actor.call("applied", timeout_s=self._push_timeout_s)
        return cast(Mapping[int, SourceOffsets], answer)

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See `ParameterSource`. Raises Unavailable."""
        boxed = await self._actor.call(
            "newer_than", version, timeout_s, refused, timeout_s=timeout_s + _TRANSFER_S
        )
        return [await self._fetch(delta) for delta in cast(list[BoxedDelta], boxed)]

    async def _fetch(self, boxed: BoxedDelta) -> Delta:
        if isinstance(boxed, Delta):
            return boxed
        try:
            async with asyncio.timeout(_TRANSFER_S):
                return await boxed
        except (TimeoutError, RayError) as error:  # the learner, which owns it, has died
            raise Unavailable(self._actor.name, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def freeze_heap() -> None:
    """Take all objects made so far, above all modules, out of the garbage collector's generations.

    A full collection would scan the half million objects of Ray, Numba and other libraries again
    and again, and stop this process for 100 ms and more each time.
    """
    gc.collect()
    gc.freeze()
