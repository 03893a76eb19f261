"""How Serve's fast ingress is switched on. Apart from the deployment: it comes before Ray."""

from __future__ import annotations

from collections.abc import Mapping


def haproxy_environment() -> Mapping[str, str]:
    """The variables that put Serve into its fast mode; Ray reads them when it is imported.

    They have to be set on every node before Ray starts there.
    """
    return {
        # Requests go through HAProxy straight to the replicas: twenty times the throughput of
        # Serve's own proxy, which is one Python process.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # User code and request handling share one event loop.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # That mode buffers a thousand log lines and flushes them on the event loop, which stands
        # for 10 ms meanwhile.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # One thread of HAProxy moves far more than one machine's replicas can answer.
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Else HAProxy writes a line about each request to a Python process beside it, which costs
        # as much as a quarter of the request itself; the replicas count for themselves.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # The way past Serve's own handling of each request: see there.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "freshrank.serve.ingress.middlewares",
        # Unset by default: a request whose replica hangs would hang for ever.
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "30",
        # The default of 30 s is for long requests; ours take milliseconds, and a stop is to be
        # over within 10 s.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        # After the default of 5 s, three times, Serve kills an ingress that is still starting: on
        # two cores, with everything else starting beside it, it may take longer.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    }
