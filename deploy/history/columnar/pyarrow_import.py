"""The module pyarrow, which only some of the work needs."""

from __future__ import annotations

from typing import Any

from freshrank.actors.errors import ConfigError


def import_pyarrow(place: str) -> Any:
    """Import pyarrow. Raises ConfigError where it is missing."""
    try:
        import pyarrow.compute  # noqa: PLC0415 - takes a tenth of a second, and may be missing
        import pyarrow.csv  # noqa: PLC0415
        import pyarrow.json  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            place, "it needs pyarrow", "Install it: pip install 'freshrank[history]'."
        ) from error
    return pyarrow
