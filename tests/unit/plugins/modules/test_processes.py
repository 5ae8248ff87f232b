"""What counts as ready, asked of real sockets. That units start, restart and go is for the scenarios, which have systemd."""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._probe import (
    connections_to,
    requests_under_way,
    what_is_missing,
    work_under_way,
)
from ansible_collections.synapse.workers.plugins.module_utils._process_changes import (
    CUT_SHORT,
    NOT_RUNNING,
    RESTART,
    START,
    decide,
    old_processes,
)
from ansible_collections.synapse.workers.plugins.module_utils._process_host import Memory, stamp_of

HEARD = 'synapse_replication_tcp_protocol_inbound_commands_total{command="POSITION",name="redis",server_name="a"} 3.0\n'
GOOD = {
    "/health": (200, "OK"),
    "/_matrix/client/v3/account/whoami": (401, "{}"),
    "/_synapse/metrics": (200, "# HELP\n" + HEARD),
}


class Process(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers like a process of Synapse; ``answers`` may be changed."""

    daemon_threads = True

    def __init__(self, address: Any, family: int = socket.AF_INET) -> None:
        self.address_family = family
        self.answers = dict(GOOD)
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # HTTPServer would look the name of the address up, which a socket file has not.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Process
    # Connections stay open after an answer, as Synapse's do.
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, body = self.server.answers.get(self.path, (404, ""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def address_string(self) -> str:
        return "client"

    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture(params=["port", "socket"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    server = Process(str(tmp_path / "s"), socket.AF_UNIX) if request.param == "socket" else Process(("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server
    server.shutdown()
    server.server_close()


def listener(process: Process) -> dict[str, Any]:
    address = process.socket.getsockname()
    return {"path": address} if isinstance(address, str) else {"address": address[0], "port": address[1]}


def probe(process: Process, **more: Any) -> dict[str, Any]:
    return {"listen": listener(process), "metrics": listener(process), "client": True, **more}


def test_a_process_that_answers_and_reaches_database_and_redis_is_ready(process: Process) -> None:
    assert what_is_missing(probe(process)) is None


@pytest.mark.parametrize(
    ("path", "answer", "missing"),
    [
        ("/health", (503, ""), "/health answers 503"),
        # /health stays 200 with the database away; this is what tells.
        ("/_matrix/client/v3/account/whoami", (500, ""), "a look into the database is answered 500 instead of 401"),
        (
            "/_synapse/metrics",
            (200, HEARD.replace("3.0", "0.0")),
            "it has not heard from the other processes through Redis",
        ),
        ("/_synapse/metrics", (200, ""), "it has not heard from the other processes through Redis"),
    ],
)
def test_what_is_missing_is_named(process: Process, path: str, answer: tuple[int, str], missing: str) -> None:
    process.answers[path] = answer
    assert what_is_missing(probe(process)) == missing


def test_main_alone_has_nobody_to_hear_from(process: Process) -> None:
    process.answers["/_synapse/metrics"] = (200, "")
    assert what_is_missing(probe(process, replicates=False)) is None


def test_nobody_there_is_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        listen = {"address": "127.0.0.1", "port": unused.getsockname()[1]}
        assert "refused" in str(what_is_missing({"listen": listen}))


def test_open_connections_are_counted(process: Process) -> None:
    address = process.socket.getsockname()
    assert connections_to(listener(process)) == 0
    with socket.socket(process.address_family) as client:
        client.connect(address)
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096)
        assert connections_to(listener(process)) >= 1


@pytest.mark.parametrize(
    ("in_flight", "under_way", "work"),
    [
        # An open connection without a request is one that nginx keeps for the next.
        ("", 0, (0, 0)),
        (
            '{method="GET",servlet="SyncRestServlet",server_name="a"} 2.0\n{method="PUT",servlet="X",server_name="a"} 1.0',
            3,
            (0, 1),
        ),
        # Whatever the order of the labels; a long-poll by POST is one.
        (
            '{servlet="Y",method="POST"} 2.0\n{method="POST",servlet="SlidingSyncRestServlet"} 4.0\n{method="GET",servlet="Z"} 1',
            7,
            (2, 1),
        ),
        # Other processes never stop asking.
        ('{method="POST",servlet="ReplicationSendEventsRestServlet",server_name="a"} 4.0', 0, (0, 0)),
    ],
)
def test_a_connection_is_no_request(process: Process, in_flight: str, under_way: int, work: tuple[int, int]) -> None:
    name = "synapse_http_server_in_flight_requests_count"
    process.answers["/_synapse/metrics"] = (200, "".join(f"{name}{line}\n" for line in in_flight.splitlines()))
    assert requests_under_way(listener(process), listener(process)) == 0
    with socket.socket(process.address_family) as client:
        client.connect(process.socket.getsockname())
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096)
        assert requests_under_way(listener(process), listener(process)) == under_way
        assert work_under_way(listener(process), listener(process)) == work
        # Without metrics nobody can tell.
        assert requests_under_way(listener(process)) >= 1
        assert work_under_way(listener(process))[0] == 0
        assert work_under_way(listener(process))[1] >= 1


def test_a_process_that_tells_no_metrics_is_judged_by_its_connections(process: Process) -> None:
    process.answers["/_synapse/metrics"] = (404, "")
    with socket.socket(process.address_family) as client:
        client.connect(process.socket.getsockname())
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096)
        assert requests_under_way(listener(process), listener(process)) >= 1


def test_a_replaced_secret_gives_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = stamp_of(str(tmp_path))
    assert stamp_of(str(tmp_path)) == before
    (tmp_path / "new").write_text("2")
    (tmp_path / "new").rename(tmp_path / "a")
    assert stamp_of(str(tmp_path)) != before
    assert stamp_of(str(tmp_path / "nowhere")) == ""


def test_what_may_be_started_without_a_run_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    process = {"name": "main", "unit": "main", "probe": {"listen": {"port": 1}}, "serves": [], "yields": False}
    memory.remember({**process, "parts": {"duties": "old", "own settings": "same", "Synapse": "1.1"}})
    memory.expect({**process, "probe": {"listen": {"port": 2}}, "parts": {"duties": "new", "own settings": "same", "Synapse": "1.2"}})
    # Neither by the new plan nor by the old one it is what is wanted; where it listens still, is known.
    assert memory.recall("main")["parts"] == {"own settings": "same", "Synapse": "1.1"}
    assert memory.recall("main")["listen"] == {"port": 1}


def test_what_is_new_and_may_be_started_without_a_run_is_known_to_be_there(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    process = {"name": "typing-1", "unit": "typing-1", "parts": {"duties": "new"}, "probe": {}, "serves": ["typing"], "yields": True}
    memory.expect(process)
    memory.expect(process)
    known = memory.recall("typing-1")
    assert decide(process, {"ActiveState": "inactive"}, known) == (START, NOT_RUNNING)
    assert decide(process, {"ActiveState": "active"}, known) == (RESTART, CUT_SHORT)
    assert [old["name"] for old in old_processes(["main"], {"typing-1": known}) if old["yields"]] == ["typing-1"]
