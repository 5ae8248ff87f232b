"""The helper with which requests wait, as nginx asks it: a process of its own, real sockets, processes that come and go."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ....routing import helper as routing
from ....routing.helper import PATIENCE, SCRIPT


class Synapse:
    """Answers /health, one question after the other, when ``allowed`` lets it."""

    def __init__(self, address: Any, family: int = socket.AF_INET) -> None:
        self.status = 200
        self.asked = 0
        self.allowed = threading.Semaphore(0)
        self.waits = False
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        self.socket.listen(50)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def name(self) -> str:
        """As nginx has it."""
        address = self.socket.getsockname()
        if isinstance(address, str):
            return f"unix:{address}"
        return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                question = connection.recv(4096)
                assert question.startswith(b"GET /health HTTP/1.1\r\n")
                self.asked += 1
                if self.waits:
                    self.allowed.acquire()
                connection.sendall(b"HTTP/1.1 %d Any\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK" % self.status)

    def close(self) -> None:
        if self.socket.fileno() < 0:
            return
        # close() alone leaves a thread in accept().
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.allowed.release()
        self.thread.join(PATIENCE)


class Waiting:
    """One request of nginx's that waits."""

    def __init__(self, path: Path, again: str = "@main", **fields: Any) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        names = {"timeout": PATIENCE, **fields}
        head = "".join(f"X-Hold-{name.capitalize()}: {value}\r\n" for name, value in {"again": again, **names}.items())
        self.socket.sendall(f"GET /x HTTP/1.0\r\nHost: hold\r\n{head}Connection: close\r\n\r\n".encode())

    def is_answered(self, within: float = 0.0) -> bool:
        return bool(select.select([self.socket], [], [], within)[0])

    @property
    def answer(self) -> str:
        """The whole answer; '' when the connection was closed without one."""
        self.socket.settimeout(PATIENCE)
        data = b""
        with self.socket:
            try:
                while chunk := self.socket.recv(4096):
                    data += chunk
            except ConnectionResetError:
                pass
        return data.decode()

    @property
    def sent_to(self) -> str:
        """The location that nginx is told to go on with, or ''."""
        fields = dict(line.split(": ", 1) for line in self.answer.split("\r\n") if ": " in line)
        return fields.get("X-Accel-Redirect", "")


class Helper(routing.Helper):
    """hold.py, and what waits there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.waiting: list[Waiting] = []

    def wait(self, *servers: Any, **fields: Any) -> Waiting:
        self.waiting.append(Waiting(self.path, servers=" ".join(str(getattr(one, "name", one)) for one in servers), **fields))
        return self.waiting[-1]

    def close(self) -> None:
        super().close()
        for one in self.waiting:
            one.socket.close()


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    helper = Helper(tmp_path)
    try:
        yield helper
        # Nothing to complain about, whatever it met.
        assert helper.stop() == ""
        assert helper.path.exists()
    finally:
        helper.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Synapse]]:
    running: list[Synapse] = []

    def start(address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET) -> Synapse:
        running.append(Synapse(address, family))
        return running[-1]

    yield start
    for one in running:
        one.close()


def unused() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["port", "socket", "IPv6"])
def test_a_request_goes_on_when_its_process_is_back(kind: str, helper: Helper, start: Any, tmp_path: Path) -> None:
    address, family = {
        "port": (("127.0.0.1", 0), socket.AF_INET),
        "socket": (str(tmp_path / "main.sock"), socket.AF_UNIX),
        "IPv6": (("::1", 0), socket.AF_INET6),
    }[kind]
    process = start(address, family)
    name, address = process.name, process.socket.getsockname()
    process.close()
    if kind == "socket":
        Path(address).unlink()
    waiting = helper.wait(name)
    assert not waiting.is_answered(0.5)
    start(address, family)
    assert waiting.sent_to == "@main"


def test_who_is_there_and_not_well_is_waited_for(helper: Helper, start: Any) -> None:
    process = start()
    process.status = 503
    waiting = helper.wait(process)
    while process.asked < 3:
        time.sleep(0.02)
    assert not waiting.is_answered()
    process.status = 200
    assert waiting.sent_to == "@main"


def test_one_of_several_will_do(helper: Helper, start: Any) -> None:
    assert helper.wait(unused(), start(), again="@receipts").sent_to == "@receipts"


def test_requests_go_in_their_order_and_a_few_at_a_time(helper: Helper, start: Any) -> None:
    process = start()
    process.waits = True
    waiting = [helper.wait(process) for _ in range(60)]
    left = waiting
    while left:
        # All have come: the helper has asked, and has yet to be answered.
        while process.asked == 0:
            time.sleep(0.02)
        process.asked = 0
        assert not left[0].is_answered()
        process.allowed.release()
        while process.asked == 0 and not left[-1].is_answered():
            time.sleep(0.02)
        gone = [one.is_answered() for one in left]
        # The first ones, and not more than a sixth of what Synapse lets wait besides.
        assert gone == sorted(gone, reverse=True)
        assert 1 <= gone.count(True) <= 16
        left = left[gone.count(True) :]
    process.waits = False
    process.allowed.release()
    assert {one.sent_to for one in waiting} == {"@main"}


def test_hundreds_wait_at_once(helper: Helper, start: Any) -> None:
    process = start()
    process.status = 503
    waiting = [helper.wait(process, again=f"@pool{number % 3}") for number in range(400)]
    while process.asked < 2:
        time.sleep(0.02)
    assert not any(one.is_answered() for one in waiting)
    process.status = 200
    assert [one.sent_to for one in waiting] == [f"@pool{number % 3}" for number in range(400)]


def test_other_processes_do_not_wait_for_one_that_is_away(helper: Helper, start: Any) -> None:
    away = [helper.wait(unused()) for _ in range(20)]
    assert helper.wait(start()).sent_to == "@main"
    assert not any(one.is_answered() for one in away)


def test_after_the_time_that_nginx_allows_there_is_an_error_that_clients_understand(helper: Helper) -> None:
    began = time.monotonic()
    head, _, body = helper.wait(unused(), timeout=0.7).answer.partition("\r\n\r\n")
    assert time.monotonic() - began >= 0.7
    assert head.startswith("HTTP/1.1 503 ")
    assert "Access-Control-Allow-Origin: *" in head
    assert json.loads(body)["errcode"] == "M_UNKNOWN"


def test_a_run_holds_requests_of_processes_that_are_well(helper: Helper, start: Any) -> None:
    process = start()
    helper.closed.touch()
    held, other = helper.wait(process, planned=1), helper.wait(process)
    # Only those that nginx was told to hold.
    assert other.sent_to == "@main"
    assert not held.is_answered(0.5)
    helper.closed.unlink()
    assert held.sent_to == "@main"


def test_nobody_is_let_go_between_two_runs_that_hold(helper: Helper, start: Any) -> None:
    """The first question is answered after the second run has begun."""
    process = start()
    process.waits = True
    held = helper.wait(process, planned=1)
    while process.asked == 0:
        time.sleep(0.02)
    helper.closed.touch()
    process.waits = False
    process.allowed.release()
    assert not held.is_answered(0.5)
    helper.closed.unlink()
    assert held.sent_to == "@main"


def test_a_run_that_came_to_a_bad_end_holds_nothing_for_ever(helper: Helper, start: Any) -> None:
    helper.closed.touch()
    os.utime(helper.closed, (time.time() - 60, time.time() - 60))
    assert helper.wait(start(), planned=1, timeout=29).sent_to == "@main"


def test_a_client_that_went_away_keeps_nobody(helper: Helper, start: Any) -> None:
    process = start()
    process.status = 503
    gone = [helper.wait(process) for _ in range(40)]
    stays = helper.wait(process)
    while process.asked < 2:
        time.sleep(0.02)
    for one in gone:
        one.socket.close()
    process.status = 200
    assert stays.sent_to == "@main"
    # And who is waited for by nobody is asked no more.
    time.sleep(0.3)
    asked = process.asked
    time.sleep(0.5)
    assert process.asked == asked


def test_a_process_that_nobody_waits_for_any_more_is_not_asked(helper: Helper, start: Any) -> None:
    process = start()
    process.status = 503
    assert "503" in helper.wait(process, timeout=0.5).answer
    time.sleep(0.3)
    asked = process.asked
    time.sleep(0.5)
    assert process.asked == asked


def test_what_comes_back_again_and_again_is_given_up(helper: Helper, start: Any) -> None:
    """A process that says that it is well and drops every request; nginx would answer 500 in the end."""
    process, mine = start(), f"unix:{helper.path}"
    assert helper.wait(process, before=f"{process.name} : {mine} : {process.name} : {mine} : {process.name}").sent_to == "@main"
    assert "503" in helper.wait(process, before=" : ".join([process.name, mine] * 3)).answer


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nX-Hold-Again: /x\r\nX-Hold-Servers: 127.0.0.1:1\r\nX-Hold-Timeout: 1\r\n\r\n",
        b"GET / HTTP/1.0\r\nX-Hold-Again: @main\r\nX-Hold-Servers: 127.0.0.1:1\r\nX-Hold-Timeout: soon\r\n\r\n",
        b"GET / HTTP/1.0\r\nX: " + b"x" * 70000,
    ],
)
def test_what_nginx_does_not_ask_gets_no_answer(question: bytes, helper: Helper, start: Any) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(helper.path))
        try:
            other.sendall(question)
            other.shutdown(socket.SHUT_WR)
            assert other.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert helper.wait(start()).sent_to == "@main"


@pytest.mark.parametrize("server", ["nonsense", "unix:/nowhere", "127.0.0.1:port"])
def test_a_server_that_cannot_be_asked_is_waited_for(server: str, helper: Helper) -> None:
    assert "503" in helper.wait(server, timeout=0.3).answer


def test_a_restart_cuts_what_waits_and_its_successor_takes_it(helper: Helper, start: Any) -> None:
    process = start()
    process.status = 503
    before = helper.wait(process)
    while process.asked == 0:
        time.sleep(0.02)
    assert helper.stop() == ""
    assert before.answer == ""
    # nginx asks again, at a socket that is systemd's and still open.
    after = helper.wait(process)
    process.status = 200
    helper.start()
    assert after.sent_to == "@main"


def test_without_a_socket_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--closed", str(tmp_path / "closed")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LISTEN_")}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (ended.returncode, ended.stderr) == (1, "no socket of systemd, and none named by --socket\n")
