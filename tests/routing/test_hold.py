"""Requests that wait for a process: a real nginx with the rendered files, the real helper, and workers that come and go."""

from __future__ import annotations

import copy
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._nginx import TIMEOUTS

from .edge import Answer, Edge, rendered
from .helper import Helper
from .plans import PLANS, everything

Asked = Future[Answer]
Ask = Callable[..., Asked]

TYPING = "/_matrix/client/v3/rooms/%21r%2Fx%3As/typing/@u:s"
MARKERS = "/_matrix/client/v3/rooms/!r:s/read_markers"
UPLOAD = "/_matrix/media/v3/upload?filename=a%2Fb"
SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?pos=1"
CREATE = "/_matrix/client/v3/createRoom"


class Place:
    """nginx, its workers, and the helper."""

    def __init__(self, folder: Path, workers: list[dict[str, Any]], **variables: Any) -> None:
        self.edge = Edge(folder, workers, **{"synapse_nginx_hold_timeout": 30, **variables})
        self.helper = Helper(folder)
        self.threads = ThreadPoolExecutor(64)

    def ask(self, *words: Any, **more: Any) -> Asked:
        """Ask on a connection of its own, and do not wait for the answer."""
        edge = copy.copy(self.edge)
        edge.connection = None

        def ask() -> Answer:
            try:
                return edge.ask(*words, **more)
            finally:
                if edge.connection:
                    edge.connection.close()

        return self.threads.submit(ask)

    def waits(self, asked: Asked) -> bool:
        """Whether it is held: it has no answer after nginx and the helper had the time to give one."""
        time.sleep(0.5)
        return not asked.done()

    def close(self) -> None:
        self.threads.shutdown(cancel_futures=True)
        self.edge.close()
        self.helper.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    places: list[Place] = []

    def start(*words: Any, **variables: Any) -> Place:
        places.append(Place(tmp_path, *words, **variables))
        return places[-1]

    yield start
    for one in places:
        one.close()


@pytest.mark.parametrize(
    ("method", "target", "worker"),
    [
        ("GET", "/_matrix/client/v3/pushers", "main"),
        ("POST", "/_matrix/client/v3/pushers/set", "main"),
        ("PUT", TYPING, "typing-1"),
        ("POST", UPLOAD, "media_repository-1"),
        ("GET", "/_matrix/client/v3/login/sso/redirect", "sso-1"),
        # With the worker of its own gone too, main stands in as soon as it is back.
        ("POST", "/_matrix/client/v3/user_directory/search", "main"),
    ],
)
@pytest.mark.parametrize("tcp", [False, True])
def test_a_request_waits_and_arrives_as_it_was_sent(method: str, target: str, worker: str, tcp: bool, place: Any) -> None:
    here = place([{"type": name} for name in ("typing", "media_repository", "sso", "user_dir")] if tcp else everything(), tcp=tcp)
    for name in list(here.edge.workers.servers):
        here.edge.workers.stop(name)
    body = b"x" * 300_000 if method != "GET" else None
    asked = here.ask(method, target, {"Authorization": "Bearer me"}, body)
    assert here.waits(asked)
    here.edge.workers.start(worker)
    answer = asked.result(30)
    assert (answer.status, answer.worker) == (200, worker)
    assert answer.said["line"] == f"{method} {target} HTTP/1.1"
    assert answer.said["length"] == len(body or b"")
    assert answer.said["headers"]["authorization"] == "Bearer me"
    assert not {name for name in answer.said["headers"] if "hold" in name}
    (line,) = here.edge.log()
    assert f"worker={worker} " in line
    assert "/hold.sock" in line


def test_what_was_cut_goes_on_where_that_does_nothing_twice(place: Any) -> None:
    here = place([*PLANS["writers_in_one"]])
    workers = here.edge.workers
    repeated = [("GET", "/_matrix/client/v3/pushers"), ("PUT", TYPING), ("POST", MARKERS), ("POST", SYNC)]
    for method, target in repeated:
        name = here.edge.ask(method, target).worker
        workers.silent = workers.dying = {name}
        asked = here.ask(method, target)
        assert here.waits(asked)
        workers.silent = set()
        workers.start(name)
        assert asked.result(30).worker == name
        assert workers.broken_off == [(name, f"{method} {target} HTTP/1.1")]
        workers.broken_off.clear()


@pytest.mark.parametrize("target", [CREATE, UPLOAD])
@pytest.mark.parametrize("held_before", [False, True])
def test_a_post_that_may_have_been_carried_out_is_never_sent_again(held_before: bool, target: str, place: Any) -> None:
    """Also not when it had been held before it was sent: nginx must not remember that it could be repeated then."""
    here = place([{"type": "media_repository"}])
    workers, name = here.edge.workers, "media_repository-1" if target == UPLOAD else "main"
    workers.silent = {name}
    if held_before:
        workers.stop(name)
    asked = here.ask("POST", target, body=b"{}")
    if held_before:
        assert here.waits(asked)
        workers.start(name)
    assert asked.result(30).status == 502
    assert workers.broken_off == [(name, f"POST {target} HTTP/1.1")]


def test_a_stand_in_that_is_away_too_is_waited_for_once_for_all(place: Any) -> None:
    """The pool breaks off, main is away: a GET waits for main, a POST has had its chance."""
    here = place([{"type": "client_reader"}])
    here.edge.workers.silent = {"client_reader-1"}
    here.edge.workers.stop("main")
    asked = here.ask("GET", "/_matrix/client/v3/joined_rooms")
    assert here.waits(asked)
    assert here.ask("POST", "/_matrix/client/v3/keys/query", body=b"{}").result(30).status == 502
    here.edge.workers.start("main")
    assert asked.result(30).worker == "main"


def test_one_that_is_too_busy_to_take_up_connections_is_waited_for(place: Any) -> None:
    here = place([], tcp=True)
    here.edge.workers.stop("main")
    host, _, port = here.edge.addresses["main"].partition(":")
    with socket.create_server((host, int(port)), backlog=0, reuse_port=False) as busy:
        waiting = []
        while True:
            waiting.append(socket.socket())
            waiting[-1].settimeout(1)
            try:
                waiting[-1].connect(busy.getsockname())
            except TimeoutError:
                break
        # nginx gives up after ten seconds, and would answer with 504.
        asked = here.ask("POST", CREATE, body=b"{}")
        time.sleep(11)
        assert not asked.done()
        for one in waiting:
            one.close()
    here.edge.workers.start("main")
    assert asked.result(30).worker == "main"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_that_is_silent_is_not_asked_twice(method: str, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIMEOUTS, "main", "1s")
    here = place([])
    here.edge.workers.mute = {"main"}
    assert here.ask(method, CREATE, body=b"{}" if method == "POST" else None).result(30).status in (502, 504)
    assert len(here.edge.workers.broken_off) == 1


def test_after_its_time_a_request_is_answered_with_an_error(place: Any) -> None:
    here = place([], synapse_nginx_hold_timeout=1)
    here.edge.workers.stop("main")
    answer = here.ask("GET", "/_matrix/client/v3/pushers").result(30)
    assert (answer.status, b"M_UNKNOWN" in answer.body) == (503, True)
    assert "worker=hold " in here.edge.log()[-1]


def test_without_its_helper_nginx_answers_as_it_would_without(place: Any) -> None:
    here = place([])
    here.helper.close()
    here.helper.path.unlink()
    here.edge.workers.stop("main")
    assert here.ask("GET", "/_matrix/client/v3/pushers").result(30).status == 502
    here.helper = Helper(here.edge.folder)


def test_a_restart_of_the_helper_is_not_noticed(place: Any) -> None:
    here = place([])
    here.edge.workers.stop("main")
    asked = [here.ask("GET", "/_matrix/client/v3/pushers"), here.ask("POST", CREATE, body=b"{}")]
    assert here.waits(asked[0])
    here.helper.stop()
    here.helper.start()
    assert here.waits(asked[1])
    here.edge.workers.start("main")
    assert [one.result(30).worker for one in asked] == ["main", "main"]


def test_a_run_holds_every_request_until_it_says_so(place: Any) -> None:
    here = place(everything(), held=True)
    here.helper.closed.touch()
    requests = {
        ("GET", "/_matrix/client/v3/sync?since=s1"): "synchrotron-",
        ("PUT", "/_matrix/client/v3/rooms/!r:s/send/m.room.message/1"): "event_creator-",
        ("POST", CREATE): "event_creator-",
        ("PUT", TYPING): "typing-1",
        ("POST", MARKERS): "receipts-1",
        ("POST", UPLOAD): "media_repository-",
        ("GET", "/_matrix/client/v3/pushers"): "main",
        ("PUT", "/_matrix/federation/v1/send/1"): "federation_inbound-",
    }
    asked = {
        here.ask(method, target, body=b"{}" if method != "GET" else None): name for (method, target), name in requests.items()
    }
    for one in asked:
        assert here.waits(one)
    # Whoever stands in is there when the worker of its own has yet to start.
    for name in [name for name in here.edge.workers.servers if name.startswith("federation_inbound")]:
        here.edge.workers.stop(name)
        asked = {one: "main" if worker.startswith("federation_inbound") else worker for one, worker in asked.items()}
    here.helper.closed.unlink()
    for one, name in asked.items():
        assert one.result(30).worker.startswith(name)
    # Until nginx is turned again, requests go on by way of the helper.
    assert here.edge.ask("GET", "/_matrix/client/v3/pushers").worker == "main"


def test_what_a_run_holds_is_still_never_sent_twice(place: Any) -> None:
    here = place([], held=True)
    here.helper.closed.touch()
    asked = here.ask("POST", CREATE, body=b"{}")
    assert here.waits(asked)
    here.edge.workers.silent = {"main"}
    here.helper.closed.unlink()
    assert asked.result(30).status == 502
    assert here.edge.workers.broken_off == [("main", f"POST {CREATE} HTTP/1.1")]


def test_where_nothing_is_to_wait_there_is_no_word_of_it() -> None:
    files, _ = rendered(everything(), synapse_nginx_hold=False)
    assert [
        path for path, text in files.items() if "hold" in path or "X-Hold" in text or "@hold" in text or "-hold/" in text
    ] == []
