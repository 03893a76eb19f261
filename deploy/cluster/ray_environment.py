"""What Ray reads from the environment when it is imported: set before, and said out loud."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from freshrank.deploy.servers.processes import free_port
from freshrank.serve.proxy.haproxy_starter import write_starter
from freshrank.serve.proxy.ray_internals import ingress_environment, private_environment


def prepare(address: str | None) -> None:
    """Set what is not set yet in this process, whose children inherit it.

    On a cluster that runs already (`address`), its nodes have their own environment: there only
    what this process reads is set, and its way of authentication is that of the cluster.
    """
    wanted: dict[str, str] = {**_ALWAYS, **ingress_environment()}
    if address is None:
        wanted |= _private_cluster()
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


_ALWAYS: Mapping[str, str] = {
    # Nothing is sent to anybody from a user's machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A reference that is pickled by hand is pinned until its sender dies: an error is better.
    "RAY_allow_out_of_band_object_ref_serialization": "0",
    # An exporter and an agent's worth of memory that nobody here reads: we have our own figures.
    "RAY_enable_metrics_collection": "0",
    # Ray's workers run at niceness 15: behind everything else on the machine, Kafka's broker and
    # whoever asks for scores among them. Ours answer requests.
    "RAY_worker_niceness": "0",
}


def _private_cluster() -> dict[str, str]:
    """What belongs to a cluster of one run: it shares no ports, files or secrets with another.

    The token keeps whoever else reaches the ports from running code here. Ray's own default
    writes one into the home directory, for all clusters of the user.
    """
    wanted = private_environment(_private_folder(), free_port)
    write_starter(Path(wanted["RAY_SERVE_HAPROXY_BINARY_PATH"]))
    # Named after the systems where it is off by default: a cluster of this machine alone, whose
    # parts listen on the loopback address in place of all of them.
    wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if "RAY_AUTH_MODE" not in os.environ and "RAY_AUTH_TOKEN" not in os.environ:
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return wanted


def _private_folder() -> Path:
    """A new folder that its owner alone can look into, gone with this process."""
    # Not below TMPDIR: a socket in it has a path of at most 107 characters, 80 of which are Ray's.
    folder = Path(tempfile.mkdtemp(prefix="freshrank-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
