"""Environment variables that Ray reads when it is imported; they are set before that."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.alerts import AlertSink
from freshrank.actors.clock import Clock
from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.private_files import keep, temporary_folder
from freshrank.deploy.cluster.ray_processes import mark_run
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.serve.access.certificate import Certificate
from freshrank.serve.proxy.certificate_watch import CertificateWatch, ProxyFiles, give
from freshrank.serve.proxy.haproxy_starter import write_starter
from freshrank.serve.proxy.ray_internals import ingress_environment, private_environment
from freshrank.serve.settings import ServeSettings


def prepare(address: str | None, certificate: Certificate | None = None) -> None:
    """Set the variables that are not set yet, for this process and its children.

    The nodes of a running cluster (`address`) have environments of their own. Then only variables
    that this process reads are set; the way of authentication is that of the cluster.

    Raises ConfigError for a `certificate` of the endpoint where HAProxy is started by others.
    """
    if certificate is not None and (address is not None or _HAPROXY in os.environ):
        whose = f"that of {_HAPROXY}" if address is None else "that of the cluster's nodes"
        raise ConfigError(
            "serve.tls_certificate_file",
            f"the HAProxy is {whose}, which does not know it",
            "Leave it out, and put a proxy with TLS in front of the endpoint.",
        )
    wanted: dict[str, str] = {**_ALWAYS, **ingress_environment()}
    if address is None:
        wanted |= _private_cluster(certificate)
        mark_run()
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def keep_logs() -> None:
    """Keep Ray's logs after the end of this process, where `prepare` has made a folder for them."""
    folder = Path(os.environ.get("RAY_TMPDIR", ""))
    if folder.name.startswith(_PREFIX):
        keep(folder)


def certificate_watch(
    settings: ServeSettings, alerts: AlertSink, clock: Clock
) -> CertificateWatch | None:
    """What renews the certificate of the endpoint; None: it has none."""
    if settings.tls_certificate_file is None:
        return None
    files = _proxy_files(Path(os.environ[_HAPROXY]).parent)
    return CertificateWatch(settings, files, alerts, clock, files.command)


def logs() -> Path:
    """Return the folder where the Ray of this process writes its logs."""
    return Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest" / "logs"


# The variable that names the program which Ray starts as HAProxy.
_HAPROXY = "RAY_SERVE_HAPROXY_BINARY_PATH"

# Begins the name of the folder of a run: Ray's session, and the files of HAProxy.
_PREFIX = "freshrank-"

_ALWAYS: Mapping[str, str] = {
    # Send no usage statistics from a user's machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # An object reference that is pickled by hand would be pinned until its sender ends: raise.
    "RAY_allow_out_of_band_object_ref_serialization": "0",
    # Start no exporter and no agent of Ray's metrics: they take memory, and ours are our own.
    "RAY_enable_metrics_collection": "0",
    # Without a connection, a call of an actor would start a Ray with settings that are not ours.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray's core takes SIGTERM for a crash: it would print a stack and abort a stopped start.
    # Python's own `faulthandler`, which Ray enables, still prints the stack of a real crash.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
    # By default Ray's workers run at niceness 15, behind all other processes of the machine, among
    # them Kafka and the clients of the endpoint. Our workers answer requests.
    "RAY_worker_niceness": "0",
}


def _proxy_files(folder: Path) -> ProxyFiles:
    """The files of HAProxy in the folder of a run."""
    return ProxyFiles(folder / "endpoint.pem", folder)


def _private_cluster(certificate: Certificate | None) -> dict[str, str]:
    """Variables of a cluster for one run, which shares no ports, files or secrets with another.

    Without the token, any program that reaches the ports could run code here. Ray's own default is
    one token in the home directory, for all clusters of the user.
    """
    folder = temporary_folder(_PREFIX)
    wanted = private_environment(folder, free_port)
    # Ray makes its folders writable by all, so that any user of the machine could rename them and
    # read the logs. In a folder that only this user can enter, nobody else reaches them.
    wanted["RAY_TMPDIR"] = str(folder)
    files = _proxy_files(folder)
    if certificate is not None:
        give(certificate, files)
    write_starter(Path(wanted[_HAPROXY]), None if certificate is None else files.certificate)
    # Named after the systems where it is off by default. Off means a cluster of this machine alone,
    # whose processes listen on the loopback address only.
    wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if "RAY_AUTH_MODE" not in os.environ and "RAY_AUTH_TOKEN" not in os.environ:
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return wanted
