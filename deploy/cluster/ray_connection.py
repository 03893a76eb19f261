"""Starting Ray on this machine, or joining a cluster that is up."""

from __future__ import annotations

import logging

import ray

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.cluster import ray_environment, ray_processes
from freshrank.deploy.servers.processes.child import children_apart
from freshrank.deploy.servers.processes.probing import listens

# Bytes of the object store of a local cluster. The newest 32 deltas of a large model pass through
# it; for small models 64 MB of /dev/shm, a container's default, would do.
_OBJECT_STORE_BYTES = 200_000_000

# Seconds for a TCP connection: a cluster far away answers in tenths of a second.
_CLUSTER_TIMEOUT_S = 5.0

# Ray waits for its own processes for 30 s; on a busy machine they may take longer, and are there
# sooner the second time, when their files are in memory.
_TRIES = 3

_log = logging.getLogger(__name__)


def connect(address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at `address`. Blocks for some seconds.

    `ray_environment.prepare` has to be called before this module is imported. Raises Unavailable
    when Ray does not start, ConfigError when there is no such cluster.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # `Screen` reports the progress
    if address is None:
        ray_processes.adopt_orphans()
        _start_ray()
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise _no_cluster(address, str(error).partition("\n")[0]) from error


def _start_ray() -> None:
    """Start Ray, several times if need be. Raises Unavailable after the last time."""
    for left in reversed(range(_TRIES)):
        try:
            # A signal to the group of this process would end the actors before they write their
            # state.
            with children_apart():
                ray.init(
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
            return
        except Exception as error:
            # Ray raises plain Exception and RuntimeError when its processes do not start in time.
            if type(error) not in (Exception, RuntimeError, TimeoutError):
                raise
            reason = str(error).partition("\n")[0].rstrip(".")
            again = "it is tried again" if left else "this was the last try"
            _log.warning("Ray did not come up, %s: %s", again, reason)
            ray.shutdown()
            ray_processes.kill_unfinished()
            if left == 0:
                raise _not_up(reason) from error


def _not_up(reason: str) -> Unavailable:
    fix = f"Start again when the machine is less busy; its logs: {ray_environment.logs()}"
    return Unavailable("ray", f"it did not come up in {_TRIES} tries ({reason}). {fix}")


def check_address(address: str | None) -> None:
    """Raise ConfigError when nothing listens at the address of a cluster.

    Ray itself would try for minutes, and then end this process.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65_536):
        raise _no_cluster(address, "it is not an address")
    if not listens(host.strip("[]"), int(port), _CLUSTER_TIMEOUT_S):
        raise _no_cluster(address, "nothing listens there")


def _no_cluster(address: str, problem: str) -> ConfigError:
    fix = "Name a cluster that is up: `auto`, `host:6379` or `ray://host:10001`."
    return ConfigError(f"--address {address}", problem, fix)
