"""Browser, system and device of a user agent, as inputs."""

from __future__ import annotations

import functools
import importlib.util
from typing import NamedTuple

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Field, Kind

PARTS = ("browser", "os", "device")
"""What is told of a user agent."""

# A header of more characters is no browser's.
_LONGEST = 1_000

# Different texts whose families are kept: to find them takes up to a hundred times as long.
_KEPT = 10_000

_OTHER = "Other"


class AgentFamilies(NamedTuple):
    """The families that a user agent belongs to; ``"Other"`` where it tells none."""

    browser: str
    os: str
    device: str


class AgentPart(NamedTuple):
    """One of `PARTS` of the user agent that a field has."""

    of: str
    part: str

    @property
    def name(self) -> str:
        """That of the input: ``agent_browser``."""
        return f"{self.of}_{self.part}"

    @property
    def field(self) -> Field:
        """Its name and kind."""
        return Field(self.name, Kind.TEXT, optional=True)

    def text(self, agent: str | None) -> str | None:
        """The family; None where there is no user agent."""
        if agent is None:
            return None
        families = families_of(agent[:_LONGEST])
        return families[PARTS.index(self.part)]


def user_agent(field: str) -> tuple[AgentPart, ...]:
    """Browser, system and device of the user agent in a field, as three id inputs.

    ``context=["item_id", *user_agent("agent")]`` gives ``agent_browser`` (``"Mobile Safari"``),
    ``agent_os`` (``"iOS"``) and ``agent_device`` (``"iPhone"``), families without their versions;
    ``"Other"`` where the text does not tell, absent where the field is. Candidates carry the field.
    The families are those of ua-parser (https://github.com/ua-parser/uap-core), by the release that
    is installed.

    Parameters
    ----------
    field
        Of texts, of the stream, by its name.

    Raises ConfigError for what is no name, and where ua-parser is not installed.

    >>> [part.name for part in user_agent("agent")]
    ['agent_browser', 'agent_os', 'agent_device']
    """
    place = f"user_agent({field!r})"
    if not isinstance(field, str):
        raise ConfigError(place, "that is no name of a field", 'Write user_agent("agent").')
    if importlib.util.find_spec("ua_parser") is None:
        raise ConfigError(
            place, "ua-parser is not installed", "Install freshrank[agents], on each machine."
        )
    return tuple(AgentPart(field, part) for part in PARTS)


@functools.lru_cache(maxsize=_KEPT)
def families_of(agent: str) -> AgentFamilies:
    """The families of a user agent.

    >>> families_of("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
    AgentFamilies(browser='Firefox', os='Linux', device='Other')
    """
    from ua_parser import parse  # noqa: PLC0415 - an extra

    found = parse(agent)
    return AgentFamilies(
        *(
            _OTHER if one is None else one.family
            for one in (found.user_agent, found.os, found.device)
        )
    )
