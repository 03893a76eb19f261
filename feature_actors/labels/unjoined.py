"""The counts of label events that no rule of the join gives to an item."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Unjoined:
    """Label events since the start of the process, and those of them that join no item."""

    label_events_read: int = 0
    """All of them."""
    label_early: int = 0
    """They reached the log up to ten seconds before an item of theirs was shown."""
    label_late: int = 0
    """They reached the log after `within`, while the item waited still."""
    label_not_shown: int = 0
    """No item of theirs was shown that they could belong to, though others were."""
    label_alone: int = 0
    """Of a listwise label: items that became positive with no other item left in their list."""
