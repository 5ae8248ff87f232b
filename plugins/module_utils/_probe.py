"""Asking a process of Synapse, at a port or at a socket, whether it is ready and whether requests are under way.

Sources: Synapse 1.163.2, ``synapse/http/request_metrics.py`` (requests in flight, by servlet) and
``synapse/replication/tcp/handler.py`` (commands that came through Redis).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import http.client
import os
import re
import socket
from typing import Any, Dict, List, Optional, Tuple

# {address, port} or {path}
Listen = Dict[str, Any]

POSITION = re.compile(
    r'^synapse_replication_tcp_protocol_inbound_commands(?:_total)?\{(?=[^}]*command="POSITION")[^}]*\} ([0-9.e+]+)',
    re.MULTILINE,
)
IN_FLIGHT = re.compile(r"^synapse_http_server_in_flight_requests_count\{([^}]*)\} ([0-9.e+]+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')

# Requests that wait for news. To ask them again changes nothing (rest/client/sync.py, rest/client/events.py).
LONG_POLLS = ("SyncRestServlet", "SlidingSyncRestServlet", "EventStreamRestServlet")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str, timeout: float) -> None:
        http.client.HTTPConnection.__init__(self, "localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(listen: Listen, target: str, headers: Optional[Dict[str, str]] = None) -> Tuple[int, str]:
    """(status, body) of a GET; (0, reason) when nobody answers within ten seconds."""
    connection = (
        _UnixConnection(listen["path"], 10)
        if listen.get("path")
        else http.client.HTTPConnection(listen["address"], int(listen["port"]), timeout=10)
    )
    try:
        connection.request("GET", target, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()


def what_is_missing(probe: Dict[str, Any]) -> Optional[str]:
    """None when the process is ready, else what it still lacks.

    Args:
        probe: ``listen`` and ``metrics`` (a ``Listen`` each, or None), ``client`` (whether client requests are answered),
            ``replicates`` (whether other processes can be heard from; true by default).
    """
    listen = probe.get("listen")
    if listen:
        status, words = get(listen, "/health")
        if status != 200:
            return "/health answers %s" % (status or words)
    metrics = probe.get("metrics")
    if metrics and probe.get("replicates", True):
        status, body = get(metrics, "/_synapse/metrics")
        counts = POSITION.findall(body) if status == 200 else []
        if not any(float(count) > 0 for count in counts):
            return "it has not heard from the other processes through Redis"
    if listen and probe.get("client"):
        # /health says nothing about the database; an unknown token has to be looked up there.
        headers = {"Authorization": "Bearer readiness"}
        status, words = get(listen, "/_matrix/client/v3/account/whoami", headers)
        if status != 401:
            return "a look into the database is answered %s instead of 401" % (status or words)
    return None


def requests_under_way(listen: Optional[Listen] = None, metrics: Optional[Listen] = None, **_others: Any) -> int:
    """How many requests a process is answering, as far as can be seen. Takes what ``what_is_missing`` takes, as keywords.

    An open connection is no request: nginx keeps idle ones. The process's own metrics tell them apart; what other processes
    ask it is left out there, for that never ends. Without metrics every connection counts, and nginx closes the idle ones
    of a server it no longer uses with the children that had opened them.
    """
    connections = connections_to(listen)
    if not connections or not metrics:
        return connections
    found = _in_flight(metrics)
    return connections if found is None else sum(count for _method, _servlet, count in found)


def work_under_way(listen: Optional[Listen] = None, metrics: Optional[Listen] = None, **_others: Any) -> Tuple[int, int]:
    """(requests that must not be sent again, all others) that a process is answering, long-polls left out.

    Without metrics every connection counts as one of the others: a long-poll looks like anything else.
    """
    connections = connections_to(listen)
    found = _in_flight(metrics) if connections and metrics else None
    if found is None:
        return 0, connections
    counts = [(method, count) for method, servlet, count in found if servlet not in LONG_POLLS]
    posts = sum(count for method, count in counts if method in ("POST", "PATCH"))
    return posts, sum(count for _method, count in counts) - posts


def _in_flight(metrics: Listen) -> Optional[List[Tuple[str, str, int]]]:
    """(method, servlet, number) of what a process is answering, other processes left out; None when it does not say."""
    status, body = get(metrics, "/_synapse/metrics")
    if status != 200:
        return None
    found = []
    for labels, count in IN_FLIGHT.findall(body):
        label = dict(LABEL.findall(labels))
        if "Replication" not in label.get("servlet", ""):
            found.append((label.get("method", ""), label.get("servlet", ""), int(float(count))))
    return found


def connections_to(listen: Optional[Listen]) -> int:
    """How many clients are connected to the listener."""
    if not listen:
        return 0
    if listen.get("path"):
        with open("/proc/net/unix") as stream:
            # Column 6 is the state: 03 is connected. The listening socket itself is 01.
            return sum(1 for line in stream if line.split()[5:6] == ["03"] and line.rstrip().endswith(" " + listen["path"]))
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as stream:
                for line in stream.readlines()[1:]:
                    fields = line.split()
                    # Column 3 is the state: 01 is established.
                    count += fields[3] == "01" and int(fields[1].rsplit(":", 1)[1], 16) == int(listen["port"])
    return count
