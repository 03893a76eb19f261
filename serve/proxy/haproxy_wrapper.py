"""HAProxy on a machine of its own: a program that Ray starts in HAProxy's place.

Used as ``python haproxy_wrapper.py BINARY ARGUMENT ...``: HAProxy's program and arguments.

Ray binds two ports of HAProxy's own, statistics and metrics, to every address of the machine; they
ask nobody who they are, and no setting of Ray moves them. Here they are moved to loopback in the
file that ``-f`` names, before this process becomes HAProxy: at the first start, and whenever Ray
starts another because the replicas have changed.

Many clients send a request's head and its body apart, and HAProxy passes on what it has. What has
been passed on in parts cannot be given to another replica when the first one dies, so HAProxy is
told to wait for the whole, if that is no larger than its buffer of 16,384 bytes.

While no replica is there, at the start and at the end of a run, Ray answers 404, which clients take
for final. Here it is 503 with Retry-After, as of a replica that has too much to do.

Nobody stops HAProxy when Ray's own process is killed: it would go on, hold the port, and answer for
replicas that are gone. So the kernel is asked to kill it with its parent.

It imports nothing but Python's own modules, so that a change of replicas does not wait for it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from pathlib import Path

# The sections whose only port is HAProxy's own, and the one whose address is `serve.host`.
_OWN = ("frontend prometheus", "listen stats")
_AS_SET = "frontend http_frontend"

# Lines of the section from which the others inherit. Who does not send all of a request in time is
# answered as by a replica.
_DEFAULTS = "defaults\n"
_WHOLE_REQUESTS = """\
  option http-buffer-request
  timeout http-request 5s
  http-error status 408 content-type application/json string \
'{"error":{"field":"request","reason":"not complete after 5 s"}}'
"""

# Where requests go that no application wants. Ours wants all, so there is none when they do.
_NOBODY = "backend default_backend"
_NOT_FOUND = "    http-request return status 404"
_AGAIN = """\
return status 503 content-type application/json hdr Retry-After 1 string \
'{"error":{"field":"server","reason":"it is starting or stopping"}}'"""
_NOT_NOW = f"    http-request {_AGAIN}"
# Before that, Serve's own proxy is asked, who does not know the application: in plain text, while
# a replica's answers are JSON.
_STRANGER = (
    f"    http-response {_AGAIN} if {{ status 404 }} {{ res.hdr(content-type) -m beg text/ }}"
)

# Of Linux' prctl: the signal that this process gets when its parent ends. It is kept when the
# process becomes another program. The parent is, for the kernel, the thread that started it; Ray
# starts HAProxy from the event loop of an actor, whose thread lives as long as the actor.
_PR_SET_PDEATHSIG = 1

# A port on every address, as Ray writes it in the one and the other section; or moved already.
_PORT = re.compile(r"\s+bind (?:\*|127\.0\.0\.1)?:(\d+)")


def on_loopback(configuration: str) -> str:
    """The same configuration, with the ports of HAProxy's own on loopback.

    Raises ValueError when it is not of the form that is known here: a port may be open then.
    """
    lines, moved, section = [], [], ""
    for line in configuration.splitlines():
        if line and not line[0].isspace():
            section = line
        if line.split()[:1] == ["bind"] and section != _AS_SET:
            port = _PORT.fullmatch(line)
            if port is None or section not in _OWN:
                raise ValueError(f"an unknown port in its section {section!r}: {line.strip()}")
            moved.append(section)
            lines.append(f"  bind 127.0.0.1:{port[1]}")
        else:
            lines.append(line)
    if sorted(moved) != sorted(_OWN):
        raise ValueError(f"a port each was expected in {_OWN}, and there is one in {moved}")
    return "\n".join(lines) + "\n"


def with_whole_requests(configuration: str) -> str:
    """The same configuration, in which HAProxy waits for the whole of a request.

    Raises ValueError when it is not of the form that is known here.
    """
    if _WHOLE_REQUESTS in configuration:
        return configuration
    lines = configuration.splitlines(keepends=True)
    if lines.count(_DEFAULTS) != 1:
        raise ValueError(f"not one section {_DEFAULTS.strip()!r}")
    lines.insert(lines.index(_DEFAULTS) + 1, _WHOLE_REQUESTS)
    return "".join(lines)


def come_again(configuration: str) -> str:
    """The same configuration, in which HAProxy answers 503 while there is no application.

    Raises ValueError when it is not of the form that is known here.
    """
    lines = configuration.splitlines()
    place = lines.index(_NOBODY) + 1 if _NOBODY in lines else len(lines)
    answer = "".join(lines[place : place + 1])
    if not answer.startswith((_NOT_FOUND, _NOT_NOW)) or _AS_SET not in lines:
        raise ValueError(f"no section {_AS_SET!r}, or no answer of 404 in {_NOBODY!r}")
    lines[place] = _NOT_NOW
    if _STRANGER not in lines:
        lines.insert(lines.index(_AS_SET) + 1, _STRANGER)
    return "\n".join(lines) + "\n"


def end_with_parent() -> None:
    """Have this process killed when its parent ends; it ends at once if that has happened already.

    An orphan's parent is the first process of all, or Ray's node manager; one that is not is the
    same Python as this.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.getppid()
    try:
        same = Path(f"/proc/{parent}/exe").readlink() == Path("/proc/self/exe").readlink()
    except OSError:  # it has ended just now
        same = False
    if parent == 1 or not same:
        sys.exit("HAProxy is not started, who started it has ended")


def main() -> None:
    """Adapt the configuration, and become HAProxy; its process id and its arguments are ours."""
    command = sys.argv[1:]
    end_with_parent()
    path = Path(command[command.index("-f") + 1])
    try:
        loopback = on_loopback(path.read_text(encoding="utf-8"))
        adapted = come_again(with_whole_requests(loopback))
    except ValueError as error:
        sys.exit(f"HAProxy is not started, its configuration {path} has {error}")
    # Whole or not at all, should this process be killed meanwhile.
    beside = path.with_suffix(".loopback")
    beside.write_text(adapted, encoding="utf-8")
    beside.replace(path)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
