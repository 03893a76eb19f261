"""What of a context is made when it is needed: ages, places, parts of user agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from freshrank.actors.features.service import Candidates
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.encoding.candidate_columns import column_of
from freshrank.feature_actors.encoding.entries.made_numbers import Age, ListPosition
from freshrank.feature_actors.encoding.entries.user_agents import AgentPart
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan


class MadeColumns:
    """Makes ages, the place in the list, and the parts of user agents.

    Parameters
    ----------
    entries
        Of the context.
    """

    def __init__(self, entries: Sequence[object]) -> None:
        self._ages = [entry for entry in entries if isinstance(entry, Age)]
        self._agents = [entry for entry in entries if isinstance(entry, AgentPart)]
        places = [entry for entry in entries if isinstance(entry, ListPosition)]
        self.position = places[0] if places else None
        made: list[Age | AgentPart | ListPosition] = [*self._ages, *self._agents, *places]
        self.names = frozenset(entry.name for entry in made)
        given = [entry.of for entry in made if not isinstance(entry, ListPosition)]
        self.carried = frozenset(of for of in given if isinstance(of, str))
        """The fields that candidates carry for it."""
        self.canonical = ", ".join(
            [*(f"{one.name} {one.unit}" for one in self._ages), *map(repr, places)]
        )
        """What the names of the inputs do not tell."""

    def numbers_of(self, candidates: Candidates, at_ms: int) -> Mapping[str, Doubles]:
        """By name: ages by the fields of ``n`` candidates float64[n], the place for all float64[1].

        Raises RequestError for times that are no numbers.
        """
        found: dict[str, Doubles] = {}
        for one in self._ages:
            if isinstance(one.of, str):
                times = column_of(one.of, Kind.NUMBER, candidates).astype(np.float64)
                found[one.name] = one.seconds(times, at_ms)
        if self.position is not None:
            found[self.position.name] = np.array([float(self.position.served)])
        return found

    def texts_of(self, candidates: Candidates) -> Mapping[str, Sequence[str | None]]:
        """By name, for each candidate: the parts of its user agents, None for what has none.

        Raises RequestError for user agents that are no texts.
        """
        for one in self._agents:
            column_of(one.of, Kind.TEXT, candidates)  # or a RequestError
        return {
            one.name: _texts(one, [None if of is None else str(of) for of in candidates[one.of]])
            for one in self._agents
        }

    def of_candidates(self, candidates: Candidates, at_ms: int) -> Mapping[str, Ints | Doubles]:
        """By name: `numbers_of`, and the ids int64[n] of `texts_of`. Raises RequestError."""
        texts = self.texts_of(candidates)
        ids = {name: column_of(name, Kind.TEXT, texts) for name in texts}
        return {**self.numbers_of(candidates, at_ms), **ids}

    def of_rows(self, plan: LatestRowPlan, rows: Doubles, at_ms: int) -> Mapping[str, Doubles]:
        """By name float64[m]: what is made of fields of `rows` float64[m, words] of a table."""
        return {
            one.name: one.seconds(plan.number(one.of.name, rows), at_ms)
            for one in self._ages
            if isinstance(one.of, TableField) and one.of.table is plan.source
        }

    def of_events(self, columns: Columns) -> Mapping[str, Ints | Doubles]:
        """By name, for each event: ages at its time float64[n], ids of parts of its user agent."""
        found: dict[str, Ints | Doubles] = {
            one.name: one.seconds(columns.number(one.of), columns.event_times_ms)
            for one in self._ages
            if isinstance(one.of, str)
        }
        for part in self._agents:
            texts = {part.name: _texts(part, columns.values(part.of))}
            found[part.name] = column_of(part.name, Kind.TEXT, texts)
        return found


def _texts(part: AgentPart, agents: Sequence[str | None]) -> list[str | None]:
    """Those of each; the candidates of a request mostly have one."""
    found = {agent: part.text(agent) for agent in {*agents}}
    return [found[agent] for agent in agents]
