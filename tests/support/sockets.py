"""Which processes belong to a system, and where each of their sockets can be reached, from /proc.

Linux lists the sockets of a network namespace with their inodes, and the inodes that a process
holds among its open files; the two together say who listens.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from whole_system import until

# States of /proc/net: TCP_LISTEN, and the one of a UDP socket that has no peer (TCP_CLOSE), which
# takes datagrams from anybody.
_OPEN = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """A socket that takes what others send to it."""

    program: str
    """As the kernel calls it: the first 15 characters of its name."""
    protocol: str
    host: str
    port: int

    @property
    def on_loopback(self) -> bool:
        """Whether it can be reached from this machine alone."""
        address = ipaddress.ip_address(self.host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback


def processes_of(root: int, variable: str, value: str) -> set[int]:
    """`root`, all processes that were started with `variable` set to `value`, and descendants.

    Whoever leaves its parent keeps what it was started with.
    """
    marker = f"{variable}={value}".encode()
    parents: dict[int, int] = {}
    found = {root}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is somebody else's
            parents[int(folder.name)] = int(_after_name(folder)[1])
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def open_sockets(pids: Iterable[int]) -> Iterator[Open]:
    """Every TCP socket that listens and every UDP socket that is bound, of any of `pids`."""
    for pid in pids:
        folder = Path("/proc") / str(pid)
        with contextlib.suppress(OSError):  # it ended meanwhile
            held = set(_held(folder))
            program = (folder / "comm").read_text().strip()
            for protocol, state in _OPEN.items():
                for line in (folder / "net" / protocol).read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == state and fields[9] in held:
                        host, _, port = fields[1].partition(":")
                        yield Open(program, protocol, _address(host), int(port, 16))


def open_sockets_until(
    enough: Callable[[set[Open]], bool], processes: Callable[[], Iterable[int]]
) -> set[Open]:
    """Every socket that was seen, at any time, until those are `enough`.

    HAProxy hands its sockets to the next of its kind whenever the replicas change; who reads the
    one process before that and the other after it sees them with neither.
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
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield (Path("/proc") / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace")


def _held(folder: Path) -> Iterator[str]:
    """The inodes of the sockets that a process has open."""
    for one in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            target = str(one.readlink())
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]


def _after_name(folder: Path) -> list[str]:
    """The fields of a process's `stat` that follow its name: state, parent, ..."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _address(text: str) -> str:
    """Read an address of /proc/net, whose 32-bit words are in this machine's byte order.

    >>> _address("0100007F"), _address("00000000000000000000000001000000")
    ('127.0.0.1', '::1')
    """
    raw = bytes.fromhex(text)
    words = (raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(ipaddress.ip_address(b"".join(words)))
