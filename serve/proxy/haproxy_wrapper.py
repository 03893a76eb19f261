"""A program that Ray starts in HAProxy's place: adapts the configuration, then becomes HAProxy.

Used as ``python haproxy_wrapper.py [--certificate FILE] BINARY ARGUMENT ...``: a certificate with
its key, for an API over TLS; the path of HAProxy and its arguments. Six things are not to be had
by a setting of Ray (`ray_internals` has the background):

- Ray binds HAProxy's ports for statistics and metrics, which ask for no password, to every address
  of the machine. They are moved to loopback in the file that ``-f`` names, at the first start and
  at each later one (Ray starts another HAProxy when the replicas have changed).
- Many clients send the head and the body of a request apart, and HAProxy passes on what it has. A
  request that was passed on in part cannot be given to another replica when the first one dies.
  So HAProxy waits for the whole request, up to the size of its buffer, 16,384 bytes.
- While there is no replica, at the start and at the end of a run, Ray answers 404, which clients
  take for final. Here the answer is 503 with Retry-After, as of an overloaded replica.
- HAProxy's own errors are HTML, and those of a replica's HTTP server are text; here they are JSON,
  as the API describes errors. A request whose target is no path (``GET *``) is a 400, not a 503.
  Only what HAProxy cannot parse as a request keeps its HTML: that text is a constant of HAProxy.
- Ray knows no TLS at the port of the API.
- HAProxy survives when the process that started it is killed: it would hold the port and answer for
  replicas that are gone. So the kernel is asked to kill it with its parent.

Imports Python's own modules only, so that a change of replicas does not wait for it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from pathlib import Path

# The sections that hold a port of HAProxy's own, and the section of the REST API's port, whose
# address is the setting `serve.host`.
_OWN_PORTS = ("frontend prometheus", "listen stats")
_API = "frontend http_frontend"

# Lines for the section that the others inherit from. The time and the answer are those of a replica
# (`request_body.BODY_DEADLINE_S`).
_DEFAULTS = "defaults\n"
_WHOLE_REQUESTS = """\
  option http-buffer-request
  timeout http-request 5s
  http-error status 408 content-type application/json string \
'{"error":{"field":"request","reason":"not complete after 5 s"}}'
  http-error status 400 content-type application/json string \
'{"error":{"field":"request","reason":"not valid HTTP"}}'
  http-error status 500 content-type application/json string \
'{"error":{"field":"server","reason":"an internal error of the proxy"}}'
  http-error status 502 content-type application/json string \
'{"error":{"field":"server","reason":"a replica broke off its answer"}}'
  http-error status 503 content-type application/json string \
'{"error":{"field":"server","reason":"no replica takes the request"}}' hdr Retry-After 1
  http-error status 504 content-type application/json string \
'{"error":{"field":"server","reason":"a replica did not answer in time"}}'
"""

# The section of requests that no application takes. Ours takes all, so there is none then.
_NO_APPLICATION = "backend default_backend"
_NOT_FOUND = "    http-request return status 404"
_UNAVAILABLE = """\
return status 503 content-type application/json hdr Retry-After 1 string \
'{"error":{"field":"server","reason":"it is starting or stopping"}}'"""
_ANSWER_UNAVAILABLE = f"    http-request {_UNAVAILABLE}"
# Before that, requests go to Serve's own proxy, which does not know the application yet. Its 404 is
# plain text, while the answers of a replica are JSON.
_REPLACE_NOT_FOUND = (
    f"    http-response {_UNAVAILABLE} if {{ status 404 }} {{ res.hdr(content-type) -m beg text/ }}"
)

# Lines of the API's section: a request without a path, and the text that a replica's HTTP server
# answers to what is no HTTP for it.
_NOT_HTTP = """\
return status 400 content-type application/json string \
'{"error":{"field":"request","reason":"not valid HTTP"}}'"""
_JSON_ERRORS = (
    f"    http-request {_NOT_HTTP} if !{{ path_beg / }}",
    f"    http-response {_NOT_HTTP} if {{ status 400 }} {{ res.hdr(content-type) -m beg text/ }}",
)

# An option of Linux' prctl: the signal that this process gets when its parent ends. It is kept when
# the process becomes another program. To the kernel, the parent is the thread that started it: for
# Ray, that of an actor's event loop, which lives as long as the actor.
_PR_SET_PDEATHSIG = 1

_CERTIFICATE = "--certificate"

# A port on every address, as Ray writes it in either section; or moved already.
_PORT = re.compile(r"\s+bind (?:\*|127\.0\.0\.1)?:(\d+)")


def own_ports_on_loopback(configuration: str) -> str:
    """The same configuration, with HAProxy's own ports on loopback.

    Raises ValueError when it has another form than is known here: a port may be open then.
    """
    lines, moved, section = [], [], ""
    for line in configuration.splitlines():
        if line and not line[0].isspace():
            section = line
        if line.split()[:1] == ["bind"] and section != _API:
            port = _PORT.fullmatch(line)
            if port is None or section not in _OWN_PORTS:
                raise ValueError(f"an unknown port in its section {section!r}: {line.strip()}")
            moved.append(section)
            lines.append(f"  bind 127.0.0.1:{port[1]}")
        else:
            lines.append(line)
    if sorted(moved) != sorted(_OWN_PORTS):
        raise ValueError(f"not one port in each of {_OWN_PORTS}, but in {moved}")
    return "\n".join(lines) + "\n"


def whole_requests(configuration: str) -> str:
    """The same configuration, in which HAProxy waits for the whole of a request.

    Raises ValueError when it has another form than is known here.
    """
    if _WHOLE_REQUESTS in configuration:
        return configuration
    lines = configuration.splitlines(keepends=True)
    if lines.count(_DEFAULTS) != 1:
        raise ValueError(f"not one section {_DEFAULTS.strip()!r}")
    lines.insert(lines.index(_DEFAULTS) + 1, _WHOLE_REQUESTS)
    return "".join(lines)


def unavailable_without_replicas(configuration: str) -> str:
    """The same configuration, in which HAProxy answers 503 while there is no application.

    Raises ValueError when it has another form than is known here.
    """
    lines = configuration.splitlines()
    place = lines.index(_NO_APPLICATION) + 1 if _NO_APPLICATION in lines else len(lines)
    answer = "".join(lines[place : place + 1])
    if not answer.startswith((_NOT_FOUND, _ANSWER_UNAVAILABLE)) or _API not in lines:
        raise ValueError(f"no section {_API!r}, or no answer of 404 in {_NO_APPLICATION!r}")
    lines[place] = _ANSWER_UNAVAILABLE
    if _REPLACE_NOT_FOUND not in lines:
        lines.insert(lines.index(_API) + 1, _REPLACE_NOT_FOUND)
    return "\n".join(lines) + "\n"


def errors_in_json(configuration: str) -> str:
    """The same configuration, in which a request that is not valid HTTP is answered in JSON.

    Raises ValueError when it has another form than is known here.
    """
    lines = configuration.splitlines()
    if _API not in lines:
        raise ValueError(f"no section {_API!r}")
    place = lines.index(_API) + 1
    lines[place:place] = [line for line in _JSON_ERRORS if line not in lines]
    return "\n".join(lines) + "\n"


def encrypted(configuration: str, certificate: str) -> str:
    """The same configuration, with TLS at the port of the API, by the file of a `certificate`.

    Raises ValueError when it has another form than is known here: the port may be open then.
    """
    lines = configuration.splitlines()
    places = [
        place
        for place, line in enumerate(lines)
        if line.split()[:1] == ["bind"] and _section(lines, place) == _API
    ]
    if len(places) != 1:
        raise ValueError(f"not one port in its section {_API!r}")
    # `-x`, by which a later HAProxy takes the port over, finds it by its address.
    words = lines[places[0]].split()[:2]
    lines[places[0]] = f"    {words[0]} {words[1]} ssl crt {certificate} ssl-min-ver TLSv1.2"
    return "\n".join(lines) + "\n"


def _section(lines: list[str], place: int) -> str:
    """The section that a line lies in."""
    return next((line for line in lines[place::-1] if line and not line[0].isspace()), "")


def end_with_parent() -> None:
    """Have this process killed when its parent ends; exit at once if it has ended already.

    The parent of an orphan is the first process of the system, or Ray's node manager. The parent
    that started this process is the same Python.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.getppid()
    try:
        same = Path(f"/proc/{parent}/exe").readlink() == Path("/proc/self/exe").readlink()
    except OSError:  # it has just ended
        same = False
    if parent == 1 or not same:
        sys.exit("HAProxy is not started: its parent process has ended")


def main() -> None:
    """Adapt the configuration, and become HAProxy, with this process's id and arguments."""
    command, certificate = sys.argv[1:], None
    if command[0] == _CERTIFICATE:
        certificate, command = command[1], command[2:]
    end_with_parent()
    path = Path(command[command.index("-f") + 1])
    try:
        loopback = own_ports_on_loopback(path.read_text(encoding="utf-8"))
        adapted = errors_in_json(unavailable_without_replicas(whole_requests(loopback)))
        if certificate is not None:
            adapted = encrypted(adapted, certificate)
    except ValueError as error:
        sys.exit(f"HAProxy is not started: its configuration {path} has {error}")
    # The file is whole or as before, should this process be killed meanwhile.
    draft = path.with_suffix(".adapted")
    draft.write_text(adapted, encoding="utf-8")
    draft.replace(path)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
