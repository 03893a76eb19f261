"""A small JSON file in the state folder that says what the state was made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.disk import Disk


@dataclass(frozen=True, slots=True)
class JsonRecord:
    """The file `name` in a state folder, which holds a value of type `type_`."""

    name: str
    type_: Any

    @property
    def names(self) -> tuple[str, str]:
        """Names that it takes in the folder: its own, and that of its draft."""
        return self.name, f".{self.name}.draft"

    def write(self, folder: Path, value: object, disk: Disk) -> None:
        """Write `value` into `folder`, durably. Raises OSError."""
        name, draft = self.names
        disk.replace(folder / draft, folder / name, [msgspec.json.encode(value)])

    def read(self, folder: Path) -> Any:
        """Return the value in `folder`; None where a version before wrote the state.

        Raises OSError, and ConfigError when the file is damaged.
        """
        file = folder / self.name
        if not file.exists():
            return None
        try:
            return msgspec.json.decode(file.read_bytes(), type=self.type_)
        except msgspec.DecodeError as error:
            raise ConfigError(
                str(file),
                f"it is damaged ({error})",
                "Remove it if the topics and the pipeline are those that this state was made "
                "with, or set another `state` (FRESHRANK_STATE).",
            ) from error
