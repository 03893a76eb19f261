"""The base of every group of settings: checked when read, unchangeable afterwards.

A component's settings are declared beside the component, once: fields, units, bounds, defaults and
their reasons. `freshrank.deploy.config.settings` puts the groups together into the tables of one
file.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the settings file: an unknown key is an error.

    Raises pydantic's ValidationError, which names the field, when a value is out of bounds.
    """

    # An error says what is wrong with a value without repeating it: it may hold a secret.
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )
