"""The environment of the fast ingress; that it works is tested with a running Serve."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from freshrank.serve.haproxy import haproxy_environment


def test_ray_knows_every_variable_that_is_set() -> None:
    spec = find_spec("ray")  # found, not imported
    assert spec is not None and spec.origin is not None
    serve = Path(spec.origin).parent / "serve"
    source = "".join(path.read_text() for path in serve.rglob("*.py"))
    unknown = [name for name in haproxy_environment() if f'"{name}"' not in source]
    assert unknown == []
