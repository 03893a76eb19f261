"""Which processes belong to a system, and where each of their sockets can be reached."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psutil
from whole_system import until


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """A socket that accepts what others send to it."""

    program: str
    """Name of the process, as the kernel keeps it: its first 15 characters."""
    protocol: str
    """``"tcp"``, ``"tcp6"``, ``"udp"`` or ``"udp6"``."""
    host: str
    port: int

    @property
    def on_loopback(self) -> bool:
        """Whether it can be reached from this machine alone."""
        address = ipaddress.ip_address(self.host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback


def processes_of(root: int | None, variable: str, value: str) -> set[int]:
    """`root`, if given, all processes started with `variable` set to `value`, and descendants.

    A process whose parent has ended keeps the variables that it was started with.
    """
    parents: dict[int, int] = {}
    found = set() if root is None else {root}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another user
            parents[process.pid] = process.ppid()
            if process.environ().get(variable) == value:
                found.add(process.pid)
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def open_sockets(pids: Iterable[int]) -> Iterator[Open]:
    """Every TCP socket that listens and every UDP socket that is bound, of any of `pids`."""
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            process = psutil.Process(pid)
            program = process.name()[:15]
            for held in process.net_connections("inet"):
                six = "6" if held.family == socket.AF_INET6 else ""
                if held.type == socket.SOCK_DGRAM and not any(held.raddr):
                    yield Open(program, f"udp{six}", held.laddr.ip, held.laddr.port)
                elif held.status == psutil.CONN_LISTEN:
                    yield Open(program, f"tcp{six}", held.laddr.ip, held.laddr.port)


def open_sockets_until(
    enough: Callable[[set[Open]], bool], processes: Callable[[], Iterable[int]]
) -> set[Open]:
    """Every socket that was seen, at any time, until those are `enough`.

    HAProxy hands its sockets to its successor whenever the replicas change: a reader that looks at
    the one process before that and at the other after it finds the sockets in neither.
    """
    seen: set[Open] = set()

    def read() -> bool:
        seen.update(open_sockets(processes()))
        return enough(seen)

    until(read)
    return seen


def command_lines(pids: Iterable[int]) -> Iterator[str]:
    """What every user of this machine sees of each of `pids`."""
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            yield "\0".join(psutil.Process(pid).cmdline())
