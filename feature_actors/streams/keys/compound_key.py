"""Keys of entities that several fields identify together, and the one text of each such id.

The text of an id is that of its parts with ``:`` between them. In a part ``~`` is written ``~0``
and ``:`` is written ``~1``, as a JSON pointer escapes its separator (RFC 6901, section 3). So no
two ids have one text, and a text that no id has is refused.

>>> compound_ids([["ann", "a:b", "a"], ["shoes", "c", "b:c"]])
['ann:shoes', 'a~1b:c', 'a:b~1c']
>>> parts_of("a~1b:c", 2)
['a:b', 'c']
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Bools
from freshrank.actors.records import LONGEST_KEY

PLUS = "+"
"""Between the fields of a compound key, in its name: ``user+category``. No field's name has it."""

_BETWEEN, _ESCAPE = ":", "~"
# An escape character that begins none of the two escapes.
_BAD_ESCAPE = re.compile("~(?![01])")


class PartFaults(NamedTuple):
    """Which of ``n`` events name no entity."""

    missing: Bools
    """bool[n]: a part has no value, or an empty text."""
    too_long: Bools
    """bool[n]: a part has more than `LONGEST_KEY` characters, and none is missing."""

    @property
    def any(self) -> Bools:
        """bool[n]: either."""
        return self.missing | self.too_long


def is_compound(key: str) -> bool:
    """Return whether a key is made of several fields."""
    return PLUS in key


def key_parts(key: str) -> tuple[str, ...]:
    """Return the fields of a key.

    >>> key_parts("user+category"), key_parts("user")
    (('user', 'category'), ('user',))
    """
    return tuple(key.split(PLUS))


def compound_ids(columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the texts of ``n`` ids, of which `columns` has the parts: a column for each."""
    escaped = [_escaped(column) for column in columns]
    return list(map(_BETWEEN.join, zip(*escaped, strict=True)))


def parts_of(text: str, count: int) -> list[str]:
    """Return the `count` parts of the id that `text` names. Raises BadRecord where it names none.

    >>> parts_of("ann", 2)
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.BadRecord: 'ann' has 1 part, not 2: write them with ':' between, as in \
'a:b'; in a part '~1' stands for ':' and '~0' for '~'
    """
    parts = text.split(_BETWEEN)
    wrong = "" if len(parts) == count else f"{len(parts)} part{'s' * (len(parts) > 1)}, not {count}"
    if _BAD_ESCAPE.search(text):
        wrong = "a '~' that neither 0 nor 1 follows"
    if wrong:
        form = _BETWEEN.join("abcdefgh"[:count])
        raise BadRecord(
            f"{text[:LONGEST_KEY]!r} has {wrong}: write them with ':' between, as in {form!r}; "
            "in a part '~1' stands for ':' and '~0' for '~'"
        )
    if _ESCAPE not in text:
        return parts
    return [part.replace("~1", _BETWEEN).replace("~0", _ESCAPE) for part in parts]


def part_faults(columns: Sequence[Sequence[str]]) -> PartFaults:
    """Return which of ``n`` ids have a part that is empty or too long.

    >>> part_faults([["ann", "bob"], ["", "hats"]]).any.tolist()
    [True, False]
    """
    missing = np.zeros(len(columns[0]), dtype=np.bool_)
    too_long = missing.copy()
    for column in columns:
        if not all(column):
            missing |= np.array([not text for text in column], dtype=np.bool_)
        if max(map(len, column), default=0) > LONGEST_KEY:
            too_long |= np.array([len(text) > LONGEST_KEY for text in column], dtype=np.bool_)
    return PartFaults(missing, too_long & ~missing)


def _escaped(column: Sequence[str]) -> Sequence[str]:
    joined = "".join(column)
    if _BETWEEN not in joined and _ESCAPE not in joined:
        return column
    return [text.replace(_ESCAPE, "~0").replace(_BETWEEN, "~1") for text in column]
