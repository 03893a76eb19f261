"""State changes by a table: a change that the table does not list is an error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from freshrank.actors.errors import IllegalTransition

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


def next_state(table: Mapping[S, Mapping[E, S]], state: S, event: E) -> S:
    """The state that follows `state` when `event` happens, by ``table[state][event]``.

    Raises IllegalTransition where the table lists none. Call it before anything is changed.

    >>> Light = Enum("Light", "RED GREEN")
    >>> Press = Enum("Press", "GO")
    >>> table = {Light.RED: {Press.GO: Light.GREEN}, Light.GREEN: {}}
    >>> next_state(table, Light.RED, Press.GO)
    <Light.GREEN: 2>
    """
    try:
        return table[state][event]
    except KeyError as error:
        raise IllegalTransition(f"{event} cannot happen in {state}") from error
