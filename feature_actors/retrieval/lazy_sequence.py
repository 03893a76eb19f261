"""A sequence whose entries are made when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class Lazily(Sequence[_Entry], Generic[_Entry]):
    """A sequence each of whose entries is made when it is wanted: few of them are.

    >>> Lazily(3, str)[1:]
    ['1', '2']
    """

    length: int
    make: Callable[[int], _Entry]

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> _Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Entry]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.make(place) for place in range(self.length)[index]]
        return self.make(range(self.length)[index])

    def __iter__(self) -> Iterator[_Entry]:
        return map(self.make, range(self.length))
