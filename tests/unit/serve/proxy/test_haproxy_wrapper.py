"""HAProxy's own ports are moved to loopback, or HAProxy is not started."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from freshrank.serve.http import request_body
from freshrank.serve.proxy import haproxy_wrapper
from freshrank.serve.proxy.haproxy_wrapper import (
    encrypted,
    errors_in_json,
    own_ports_on_loopback,
    unavailable_without_replicas,
    whole_requests,
)

CONFIGURATION = """\
global
    stats socket /tmp/admin.sock mode 666 level admin
defaults
    mode http
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind *:8000
    # bind :1 is no port
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain string "not found"
listen stats
  bind *:8404
  stats enable
"""


def test_haproxys_own_ports_are_moved_and_that_of_the_endpoint_is_left_as_set() -> None:
    moved = own_ports_on_loopback(CONFIGURATION)
    assert re.findall(r"^ +bind (.*)", moved, re.MULTILINE) == [
        "127.0.0.1:9101",
        "*:8000",
        "127.0.0.1:8404",
    ]
    same = [line for line in CONFIGURATION.splitlines() if " bind " not in line]
    assert [line for line in moved.splitlines() if " bind " not in line] == same


def test_the_port_of_the_endpoint_alone_is_encrypted() -> None:
    adapted = encrypted(own_ports_on_loopback(CONFIGURATION), "/run/endpoint.pem")
    assert re.findall(r"^ +bind (.*)", adapted, re.MULTILINE) == [
        "127.0.0.1:9101",
        "*:8000 ssl crt /run/endpoint.pem ssl-min-ver TLSv1.2",
        "127.0.0.1:8404",
    ]
    assert encrypted(adapted, "/run/endpoint.pem") == adapted


@pytest.mark.parametrize("change", [("    bind *:8000\n", ""), ("*:8000", "*:8000\n    bind *:81")])
def test_no_port_of_the_endpoint_stays_open_beside_an_encrypted_one(
    change: tuple[str, str],
) -> None:
    with pytest.raises(ValueError, match="not one port"):
        encrypted(CONFIGURATION.replace(*change), "/run/endpoint.pem")


def test_haproxy_waits_for_whole_requests_in_every_section() -> None:
    adapted = whole_requests(CONFIGURATION)
    defaults = adapted.partition("defaults\n")[2].partition("frontend")[0]
    assert "option http-buffer-request" in defaults
    # HAProxy's program cannot import it.
    assert f"timeout http-request {request_body.BODY_DEADLINE_S:g}s" in defaults
    assert whole_requests(adapted) == adapted
    with pytest.raises(ValueError, match="not one section 'defaults'"):
        whole_requests(CONFIGURATION.replace("defaults", "default"))


def test_without_an_application_the_answer_is_a_503_with_retry_after() -> None:
    adapted = unavailable_without_replicas(CONFIGURATION)
    (answer,) = re.findall(r"^backend default_backend\n +(.*)", adapted, re.MULTILINE)
    assert answer.startswith("http-request return status 503 content-type application/json")
    assert "hdr Retry-After 1 " in answer
    (stranger,) = re.findall(
        r"^frontend http_frontend\n( +http-response .*\n)", adapted, re.MULTILINE
    )
    assert answer.removeprefix("http-request ") in stranger
    rest = adapted.replace(stranger, "").replace(answer, "")
    assert rest == re.sub("http-request return.*", "", CONFIGURATION)
    assert unavailable_without_replicas(adapted) == adapted
    for other in ("return status 410", "deny"):
        with pytest.raises(ValueError, match="no answer of 404"):
            unavailable_without_replicas(CONFIGURATION.replace("return status 404", other))
    with pytest.raises(ValueError, match="no answer of 404"):
        unavailable_without_replicas(CONFIGURATION.partition("    http-request")[0])


def test_what_is_not_valid_http_is_answered_in_json_once() -> None:
    adapted = errors_in_json(CONFIGURATION)
    section = adapted.partition("frontend http_frontend\n")[2].partition("backend")[0]
    assert "if !{ path_beg / }" in section
    assert "if { status 400 } { res.hdr(content-type) -m beg text/ }" in section
    assert errors_in_json(adapted) == adapted
    with pytest.raises(ValueError, match="no section 'frontend http_frontend'"):
        errors_in_json(CONFIGURATION.replace("http_frontend", "another"))


def test_a_configuration_that_is_moved_already_stays_as_it_is() -> None:
    assert own_ports_on_loopback(own_ports_on_loopback(CONFIGURATION)) == own_ports_on_loopback(
        CONFIGURATION
    )


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("bind :9101", "bind :9101,:9102"),
        ("bind :9101", "bind 10.0.0.1:9101"),
        ("bind :9101", "bind ipv6@:9101"),
        ("bind :9101", "bind :9101 ssl"),
        ("    bind :9101\n", ""),
        ("bind :9101", "bind :9101\n    bind :9102"),
        ("listen stats", "listen statistics"),
        ("global", "frontend grpc_frontend\n    bind *:9000 proto h2\nglobal"),
    ],
)
def test_an_unknown_form_of_the_configuration_is_refused(was: str, becomes: str) -> None:
    with pytest.raises(ValueError, match=r"an unknown port|not one port in each"):
        own_ports_on_loopback(CONFIGURATION.replace(was, becomes))


def test_the_form_is_that_of_the_installed_ray() -> None:
    spec = find_spec("ray")  # found, not imported
    assert spec is not None and spec.origin is not None
    templates = Path(spec.origin).parent / "serve" / "_private" / "haproxy_templates.py"
    text = templates.read_text().partition("HAPROXY_CONFIG_TEMPLATE")[2]
    filled = re.sub(r"{{ config\.(\w+_)?port }}", "80", text)
    without_grpc = re.sub(r"{%- if config\.grpc_enabled %}\nfrontend.*?(?=listen)", "", filled,
                          flags=re.DOTALL)  # fmt: skip
    assert "127.0.0.1:80" in own_ports_on_loopback(without_grpc)
    assert "http-buffer-request" in whole_requests(without_grpc)
    assert "return status 404" not in unavailable_without_replicas(without_grpc)


def test_the_program_becomes_haproxy_with_the_file_moved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become: list[tuple[str, Sequence[str]]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: become.append((path, command)))
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIGURATION)
    command = ["/bin/haproxy", "-db", "-f", str(file), "-sf", "12"]
    tied: list[bool] = []
    monkeypatch.setattr(haproxy_wrapper, "end_with_parent", lambda: tied.append(True))
    monkeypatch.setattr(sys, "argv", ["haproxy_wrapper.py", *command])
    haproxy_wrapper.main()
    assert tied == [True]
    assert become == [("/bin/haproxy", command)]
    assert file.read_text() == errors_in_json(
        unavailable_without_replicas(whole_requests(own_ports_on_loopback(CONFIGURATION)))
    )
    assert list(tmp_path.iterdir()) == [file]


def test_the_program_ends_with_a_reason_where_it_cannot_move_the_ports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "execv", lambda path, command: pytest.fail("became HAProxy"))
    file = tmp_path / "haproxy.cfg"
    file.write_text("frontend prometheus\n    bind 0.0.0.0:9101\n")
    monkeypatch.setattr(haproxy_wrapper, "end_with_parent", lambda: None)
    command = ["/bin/haproxy", "-f", str(file)]
    monkeypatch.setattr(sys, "argv", ["haproxy_wrapper.py", *command])
    with pytest.raises(SystemExit, match=r"haproxy\.cfg has an unknown port in its section"):
        haproxy_wrapper.main()
