"""What was shown and clicked in each arm of an experiment, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles
from freshrank.deploy.experiments.off_policy import OffPolicyTally, Weighed
from freshrank.serve.experiments.definitions import Experiment

CLUSTERS = 1_024
"""Groups of users, by a hash: variances are those between groups, whose number does not grow."""
MOST_USERS = 2_000_000
"""Users of an experiment that are counted, in 150 MB. Those who come later are left out, which the
report says; assignment is independent of when they come."""


@dataclass(slots=True)
class ArmTally:
    """The sums of one arm."""

    items: Doubles
    """float64[b]: items that were shown, by cluster."""
    clicks: Doubles
    """float64[b]: those of them that were clicked."""
    off_policy: OffPolicyTally
    users: int = 0
    lists: int = 0

    @classmethod
    def empty(cls, positions: int) -> ArmTally:
        """Nothing yet."""
        return cls(np.zeros(CLUSTERS), np.zeros(CLUSTERS), OffPolicyTally(CLUSTERS, positions))


class ExperimentTally:
    """The sums of an experiment.

    `positions` is the number of items of each list that off-policy estimates are about.
    """

    def __init__(self, experiment: Experiment, positions: int) -> None:
        self.experiment = experiment
        self.arms = {arm.name: ArmTally.empty(positions) for arm in experiment.arms}
        self.moved = 0
        """Lists of users that were in another arm before: the shares have been changed."""
        self.left_out = 0
        """Lists of users beyond `MOST_USERS`."""
        self.unknown = 0
        """Lists of arms that the experiment does not have any more."""
        self._arm_of: dict[int, str] = {}
        self._exploring = {arm.name for arm in experiment.arms if arm.explore is not None}

    def explores(self, arm: str) -> bool:
        """Whether the lists of an arm explore: those of another experiment's arm say nothing."""
        return arm in self._exploring

    def show(self, user: int, arm: str, items: int, weighed: Weighed | None) -> bool:
        """Count a list of a user, by the hash; returns whether its clicks count."""
        found = self.arms.get(arm)
        if found is None:
            self.unknown += 1
            return False
        before = self._arm_of.get(user)
        if before is None:
            if len(self._arm_of) >= MOST_USERS:
                self.left_out += 1
                return False
            self._arm_of[user] = arm
            found.users += 1
        elif before != arm:
            self.moved += 1
            return False
        found.lists += 1
        found.items[user % CLUSTERS] += items
        if weighed is not None:
            found.off_policy.show(user % CLUSTERS, weighed)
        return True

    def click(self, user: int, arm: str, position: int, weighed: Weighed | None) -> None:
        """Count a click on an item of a list that counts."""
        found = self.arms[arm]
        found.clicks[user % CLUSTERS] += 1
        if weighed is not None:
            found.off_policy.click(user % CLUSTERS, weighed, position)
