"""Servers that are started here, and stopped again."""

from __future__ import annotations

from typing import Self


class Server:
    """A server that is started here, as a context manager; subclasses know how."""

    def start(self) -> None:
        """Start it and wait until it answers. Raises Unavailable, or ConfigError with the fix."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it and wait until it has ended; safe to call twice, or before `start`."""
        raise NotImplementedError

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs, and for a server that others run."""
        return None

    def start_again(self) -> None:
        """Start it once more at the same address, after it has ended by itself.

        Raises Unavailable when that fails, DependencyLost when no start can help.
        """
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
