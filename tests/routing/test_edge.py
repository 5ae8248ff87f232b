"""What the edge refuses, hands on, repeats, keeps together and writes down."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .edge import Edge, free_port, rendered
from .plans import PLANS, everything

Edges = Callable[..., Edge]
Requests = list[tuple[str, str, dict[str, str]]]

# Paths that only processes among themselves or the operator may reach, and ways to write them.
CLOSED = [
    "/_synapse/admin/v1/server_version",
    "/_synapse/replication/x",
    "/_synapse/metrics",
    "/health",
    "/_synapse/mas/query_user",
]
DETOURS = [
    "{closed}",
    "{closed}?/_matrix/client/versions",
    "{closed}/../../_matrix/client/versions",
    "{closed}/../../../_matrix/client/versions",
    "{closed}/%2e%2e/%2e%2e/_matrix/client/versions",
    "{closed}/..%2F..%2F..%2F..%2F_matrix/client/versions",
    "{closed}/..%2f..%2f..%2f..%2f_matrix%2fclient%2fversions",
    "/{closed}",
    "//{closed}",
    "/.{closed}",
    "/_matrix/..{closed}",
    "/_matrix/client/../..{closed}",
    "/_matrix/%2e%2e{closed}",
    "/_matrix%2F..{closed}",
    "/%5Fsynapse{tail}",
    "/_synapse%2Fadmin",
    "/_synapse%2fmetrics",
    "/_SYNAPSE/admin/v1/server_version",
    "/_synapse/client/..{tail}",
    "/_synapse/client/%2e%2e{tail}",
    "/.well-known/matrix/../..{closed}",
    "http://example.org{closed}",
]


def spellings() -> list[str]:
    """Every closed path in every spelling."""
    found = []
    for closed in CLOSED:
        tail = closed[len("/_synapse") :] if closed.startswith("/_synapse") else closed
        found += [detour.format(closed=closed, tail=tail) for detour in DETOURS]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("allowed_from", [[], ["10.0.0.0/8"]])
@pytest.mark.parametrize("plan", ["seven", "nothing"])
def test_what_is_closed_is_refused_in_every_spelling(plan: str, allowed_from: list[str], edges: Edges) -> None:
    edge = edges(PLANS[plan], synapse_nginx_admin_allowed_from=allowed_from)
    let_through = []
    for target in spellings():
        for method in ("GET", "POST"):
            answer = edge.ask(method, target)
            raw = answer.said.get("line", "").split(" ")[1:2]
            # Beginning with an open prefix it is no closed path for Synapse, which resolves nothing.
            harmless = raw and re.match(r"/(_matrix|_synapse/client|\.well-known/matrix)/", raw[0])
            if answer.status not in (400, 404) and not harmless:
                let_through.append((method, target, answer.status, answer.worker))
    assert let_through == []
    for line in edge.log():
        status, upstream = re.search(r'" (\d+) \d+ .* upstream="([^"]*)"', line).groups()  # type: ignore[union-attr]
        assert status == "200" or upstream == "-", line


def test_administration_is_open_to_the_addresses_that_are_named(edges: Edges) -> None:
    edge = edges(PLANS["seven"], synapse_nginx_admin_allowed_from=["127.0.0.1/32"])
    assert edge.ask("GET", "/_synapse/admin/v1/server_version").worker == "main"
    assert edge.ask("GET", "/_synapse/admin/v1/rooms/!r:s").worker == "client_reader-1"
    assert edge.ask("POST", "/_synapse/admin/v1/purge_media_cache").worker == "media_repository-1"
    assert edge.ask("GET", "/_synapse/metrics").status == 404


class TestLimits:
    """Logins and registrations from one address are counted, over all workers."""

    LOGIN = "/_matrix/client/v3/login"
    COUNTED = (
        ("POST", "/_matrix/client/r0/login"),
        ("POST", "/_matrix/client/v3/register?kind=user"),
        ("POST", "/_matrix/client/v3/register/email/requestToken"),
        ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x"),
        ("GET", "/_matrix/client/v3/register/available?username=x"),
    )
    FREE = (
        ("GET", LOGIN),
        ("OPTIONS", LOGIN),
        ("GET", "/_matrix/client/v3/login/sso/redirect"),
        ("POST", "/_matrix/client/v3/refresh"),
        ("GET", "/_matrix/client/v3/sync?since=s1"),
        ("PUT", "/_matrix/client/v3/rooms/!r:s/send/m.room.message/login"),
        ("POST", "/_matrix/client/v3/logout"),
        ("PUT", "/_matrix/federation/v1/send/register"),
    )

    @pytest.mark.parametrize("plan", ["seven", "nothing"])
    def test_too_many_are_refused_and_others_are_not(self, plan: str, edges: Edges) -> None:
        edge = edges(
            PLANS[plan], synapse_server_name=f"limits-{plan}.example.org", synapse_nginx_login_rate=2, synapse_nginx_login_burst=3
        )
        worker = "client_reader-1" if plan == "seven" else "main"
        assert [edge.ask("POST", self.LOGIN, body=b"{}").worker for _ in range(4)] == [worker] * 4
        asked = len(edge.workers.seen)
        for method, target in (("POST", self.LOGIN), *self.COUNTED):
            answer = edge.ask(method, target)
            assert (answer.status, json.loads(answer.body)["errcode"]) == (429, "M_LIMIT_EXCEEDED"), target
        assert json.loads(answer.body)["retry_after_ms"] == int(answer.headers["retry-after"]) * 1000 == 30_000
        assert (answer.headers["content-type"], answer.headers["access-control-allow-origin"]) == ("application/json", "*")
        # No process hears of them.
        assert len(edge.workers.seen) == asked
        assert {edge.ask(method, target).status for method, target in self.FREE} == {200}

    def test_a_stand_in_is_asked_once_and_not_counted_twice(self, edges: Edges) -> None:
        edge = edges(
            [{"type": "client_reader"}],
            synapse_server_name="limits-gone.example.org",
            synapse_nginx_login_rate=1,
            synapse_nginx_login_burst=1,
        )
        edge.workers.stop("client_reader-1")
        assert [edge.ask("POST", self.LOGIN, body=b"{}").worker for _ in range(2)] == ["main"] * 2
        assert edge.ask("POST", self.LOGIN, body=b"{}").status == 429

    def test_none_are_counted_where_that_is_off(self, edges: Edges) -> None:
        edge = edges([{"type": "client_reader"}], synapse_server_name="limits-off.example.org", synapse_nginx_login_rate=0)
        assert {edge.ask("POST", self.LOGIN, body=b"{}").status for _ in range(60)} == {200}
        assert not [text for text in edge.files.values() if "limit_req" in text]

    def test_they_are_off_behind_another_proxy(self, edges: Edges) -> None:
        edge = edges([{"type": "client_reader"}], synapse_public_baseurl="https://matrix.example.org/")
        assert not [text for text in edge.files.values() if "limit_req" in text]


@pytest.mark.parametrize("path", ["/", "/index.html", "/_matrix", "/matrix/client/versions", "/_synapse/", "/favicon.ico"])
def test_what_is_not_matrix_is_answered_with_404(path: str, edges: Edges) -> None:
    answer = edges(PLANS["seven"]).ask("GET", path)
    assert (answer.status, b"M_UNRECOGNIZED" in answer.body) == (404, True)


def test_clients_and_servers_are_told_where_the_homeserver_is(edges: Edges) -> None:
    edge = edges(
        PLANS["nothing"],
        synapse_public_baseurl="https://matrix.example.org/",
        nginx_well_known_client={"m.identity_server": {"base_url": "https://id.example.org"}},
    )
    client = edge.ask("GET", "/.well-known/matrix/client")
    assert client.headers["access-control-allow-origin"] == "*"
    assert client.headers["content-type"] == "application/json"
    assert client.body == (
        b'{"m.homeserver": {"base_url": "https://matrix.example.org/"}, "m.identity_server": {"base_url": "https://id.example.org"}}'
    )
    assert edge.ask("GET", "/.well-known/matrix/server").body == b'{"m.server": "matrix.example.org:443"}'


def test_a_site_of_your_own_includes_the_snippet(edges: Edges) -> None:
    edge = edges(PLANS["seven"], synapse_nginx_site=False)
    assert edge.ask("GET", "/index.html").body == b"another page"
    assert edge.ask("GET", "/_matrix/client/v3/sync?since=s1").worker == "synchrotron-1"
    for closed in CLOSED:
        assert edge.ask("GET", f"{closed}/../../_matrix/client/versions").status in (400, 404)


def test_with_a_certificate_everything_goes_by_https(edges: Edges, tmp_path: Path) -> None:
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    subprocess.run([*command, "-subj", "/CN=example.org", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    edge = edges(
        PLANS["nothing"],
        synapse_tls_certificate_path=str(certificate),
        synapse_tls_certificate_key_path=str(key),
        synapse_nginx_listen_https=port,
        __synapse_seen={"nginx": release_here()},
    )
    target = "/_matrix/client/v3/rooms/%21r%3As/messages?from=a%2Fb"
    answer = edge.ask("GET", target)
    assert (answer.status, answer.headers["location"]) == (301, f"https://example.org:{port}{target}")
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="example.org") as secure,
    ):
        secure.sendall(f"GET {target} HTTP/1.0\r\nHost: example.org\r\n\r\n".encode())
        data = b"".join(iter(lambda: secure.recv(65536), b""))
    said = json.loads(data.partition(b"\r\n\r\n")[2])
    assert (said["line"], said["headers"]["x-forwarded-proto"]) == (f"GET {target} HTTP/1.1", "https")
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="example.org") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"


def release_here() -> str:
    """Of the nginx that the tests run."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin") or "nginx"
    return subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr.split("/")[1].split()[0]


@pytest.mark.parametrize(
    ("release", "is_directive"), [("", False), ("1.22.1", False), ("1.25.0", False), ("1.25.1", True), ("1.26.3", True)]
)
def test_http_2_is_named_in_the_words_of_the_nginx_that_is_there(release: str, is_directive: bool) -> None:
    tls = {"synapse_tls_certificate_path": "/etc/ssl/chain.pem", "synapse_tls_certificate_key_path": "/etc/ssl/key.pem"}
    site = rendered(PLANS["nothing"], __synapse_seen={"nginx": release}, **tls)[0]["/etc/nginx/sites-enabled/matrix-synapse.conf"]
    assert ("http2 on;" in site, " ssl http2;" in site) == (is_directive, not is_directive)


def test_a_client_cannot_say_who_it_is(edges: Edges) -> None:
    answer = edges(PLANS["nothing"]).ask(
        "GET", "/_matrix/client/versions", {"X-Forwarded-For": "6.6.6.6", "Connection": "keep-alive"}
    )
    headers = answer.said["headers"]
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"], headers["host"]) == ("127.0.0.1", "http", "example.org")
    assert "connection" not in headers


def test_uploads_up_to_the_limit_pass(edges: Edges) -> None:
    edge = edges(PLANS["seven"], synapse_nginx_max_body_size="3M")
    target = "/_matrix/media/v3/upload?filename=a%2Fb"
    assert edge.ask("POST", target, body=b"x" * 2_900_000).said["length"] == 2_900_000
    assert edge.ask("POST", target, body=b"x" * 3_200_000).status == 413


def workers_for(edge: Edge, requests: Requests) -> list[str]:
    return [edge.ask(method, target, headers).worker for method, target, headers in requests]


def test_one_user_stays_on_one_worker(edges: Edges) -> None:
    edge = edges([{"type": "synchrotron", "count": 4}])
    sync = "/_matrix/client/v3/sync?since=s1"
    alice = [
        ("GET", sync, {"Authorization": "Bearer syt_YWxpY2U_aaaaaaaa_1111"}),
        ("GET", f"{sync}&x=1", {"Authorization": "Bearer syt_YWxpY2U_bbbbbbbb_2222", "User-Agent": "other"}),
        ("GET", f"{sync}&access_token=syt_YWxpY2U_cccccccc_3333", {}),
        ("GET", f"{sync}&set_presence=offline", {"Authorization": "Bearer syt_YWxpY2U_dddddddd_4444"}),
    ]
    assert len(set(workers_for(edge, alice))) == 1
    many: Requests = [("GET", sync, {"Authorization": f"Bearer syt_{user}_xxxx_yyyy"}) for user in range(40)]
    assert len(set(workers_for(edge, many))) == 4


def test_a_token_that_changes_does_not_move_its_device(edges: Edges) -> None:
    edge = edges([{"type": "synchrotron", "count": 4}])
    sync = "/_matrix/client/v3/sync?since=s1"
    device = [("GET", sync, {"Authorization": f"Bearer mat_{n}", "User-Agent": "Element/1"}) for n in range(12)]
    assert len(set(workers_for(edge, device))) == 1
    bridge = [("GET", f"{sync}&user_id=%40bot_{n}%3Aexample.org", {"Authorization": "Bearer as_token"}) for n in range(40)]
    assert len(set(workers_for(edge, bridge))) == 4
    assert len(set(workers_for(edge, bridge[:1] * 5))) == 1


@pytest.mark.parametrize("room", ["!abc:example.org", "!31hneApxJ_1o-63DmFrpeqnFfWppnzWso1JvH3ogLM"])
def test_one_room_stays_on_one_worker(room: str, edges: Edges) -> None:
    edge = edges([{"type": "event_creator", "count": 4}])
    encoded = room.replace("!", "%21").replace(":", "%3A")
    requests: Requests = []
    for spelling in (room, encoded, encoded.replace("%3A", "%3a")):
        requests += [
            ("PUT", f"/_matrix/client/v3/rooms/{spelling}/send/m.room.message/1", {}),
            ("POST", f"/_matrix/client/r0/rooms/{spelling}/invite", {}),
            ("POST", f"/_matrix/client/v3/join/{spelling}?server_name=example.org", {}),
        ]
    assert len(set(workers_for(edge, requests))) == 1
    many: Requests = [("POST", f"/_matrix/client/v3/rooms/!{number}:s/leave", {}) for number in range(40)]
    assert len(set(workers_for(edge, many))) == 4


def test_one_server_stays_on_one_worker(edges: Edges) -> None:
    edge = edges([{"type": "federation_inbound", "count": 4}])
    signed = [
        'X-Matrix origin="a.example",key="ed25519:1",sig="x"',
        "X-Matrix key=k,origin=a.example,sig=y",
        "x-matrix sig=z, origin=a.example",
    ]
    requests = [("PUT", f"/_matrix/federation/v1/send/{n}", {"Authorization": value}) for n, value in enumerate(signed)]
    assert len(set(workers_for(edge, requests))) == 1
    many: Requests = [
        ("PUT", "/_matrix/federation/v1/send/1", {"Authorization": f"X-Matrix origin=s{n}.example"}) for n in range(40)
    ]
    assert len(set(workers_for(edge, many))) == 4


def test_a_new_worker_moves_few_users(edges: Edges) -> None:
    before, after = (edges([{"type": "synchrotron", "count": count}], tcp=True) for count in (3, 4))
    sync = "/_matrix/client/v3/sync?since=s1"
    users = [("GET", sync, {"Authorization": f"Bearer syt_user{user}_xxxx_yyyy"}) for user in range(200)]
    moved = sum(one != other for one, other in zip(workers_for(before, users), workers_for(after, users), strict=False))
    # With the ports of the test in place of the plan's, the ring differs from run to run; a plain hash would move 150.
    assert moved < 200


class TestFallback:
    """Who stands in when no worker of a pool answers."""

    @pytest.fixture
    def edge(self, edges: Edges) -> Any:
        edge = edges(everything(), synapse_server_name="fallback.example.org")
        yield edge
        edge.workers.silent.clear()
        for name in edge.addresses:
            if name not in edge.workers.servers:
                edge.workers.start(name)

    @pytest.mark.parametrize(
        ("method", "target", "stand_in"),
        [
            ("GET", "/_matrix/client/v3/sync?since=s1", "main"),
            ("GET", "/_matrix/client/v3/joined_rooms", "main"),
            ("POST", "/_matrix/client/v3/rooms/!r:s/send/m.room.message", "main"),
            ("PUT", "/_matrix/federation/v1/send/1", "main"),
            ("PUT", "/_matrix/client/v3/rooms/!r:s/typing/@u:s", ""),
            ("POST", "/_matrix/client/v3/rooms/!r:s/read_markers", ""),
            ("GET", "/_matrix/client/v1/media/download/s/m", ""),
            ("GET", "/_matrix/client/v3/login/sso/redirect", ""),
        ],
    )
    def test_a_pool_that_is_gone(self, method: str, target: str, stand_in: str, edge: Edge) -> None:
        pools = edge.pools_of[edge.ask(method, target).worker]
        for name, types in edge.pools_of.items():
            if set(types) & set(pools):
                edge.workers.stop(name)
        answer = edge.ask(method, target)
        assert (answer.status, answer.worker) == ((200, "main") if stand_in else (502, ""))

    def test_one_worker_that_is_gone_is_passed_over(self, edge: Edge) -> None:
        target = "/_matrix/client/v3/sync?since=s1"
        first = edge.ask("GET", target).worker
        edge.workers.stop(first)
        second = edge.ask("GET", target).worker
        assert second != first
        assert "synchrotron" in edge.pools_of[second]

    @pytest.mark.parametrize(
        ("method", "target", "status"),
        [
            # A worker that breaks off may have stored the message: asked again, it would be there twice.
            ("POST", "/_matrix/client/v3/rooms/!r:s/send/m.room.message", 502),
            ("POST", "/_matrix/client/v3/createRoom", 502),
            # These carry an id of the client's, or only ask.
            ("PUT", "/_matrix/client/v3/rooms/!r:s/send/m.room.message/1", 200),
            ("GET", "/_matrix/client/v3/joined_rooms", 200),
            ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?pos=1", 200),
        ],
    )
    def test_workers_that_break_off(self, method: str, target: str, status: int, edge: Edge) -> None:
        edge.workers.silent.update(name for name in edge.addresses if name != "main")
        answer = edge.ask(method, target)
        assert (answer.status, answer.worker) == (status, "main" if status == 200 else "")


class TestLog:
    """What the access log says."""

    def test_it_names_the_worker(self, edges: Edges) -> None:
        for tcp in (False, True):
            edge = edges(PLANS["seven"], tcp=tcp, synapse_server_name="log.example.org")
            edge.ask("GET", "/_matrix/client/v3/sync?since=s1")
            edge.ask("GET", "/_matrix/client/v3/pushers")
            edge.ask("GET", "/elsewhere")
            named = [re.search(r"worker=(\S+)", line).group(1) for line in edge.log()[-3:]]  # type: ignore[union-attr]
            assert named == ["synchrotron-1", "main", "-"]

    def test_it_names_one_of_many_behind_sockets(self, edges: Edges) -> None:
        edge = edges(everything(), synapse_server_name="log.example.org")
        said = edge.ask("GET", "/_matrix/client/v3/login/sso/redirect").worker
        assert f"worker={said} upstream=" in edge.log()[-1]
        assert said == "sso-1"

    def test_it_names_who_answered_in_the_end(self, edges: Edges) -> None:
        edge = edges([{"type": "client_reader"}], synapse_server_name="log.example.org")
        edge.workers.stop("client_reader-1")
        edge.ask("GET", "/_matrix/client/v3/joined_rooms")
        line = edge.log()[-1]
        assert "worker=main" in line
        assert " : " in line

    @pytest.mark.parametrize("name", ["access_token", "loginToken", "token", "ticket"])
    def test_it_holds_no_token(self, name: str, edges: Edges) -> None:
        edge = edges(PLANS["nothing"], synapse_server_name="log.example.org")
        edge.ask("GET", f"/_matrix/client/v3/sync?since=s1&{name}=secret1&x=1&{name}=secret2")
        line = edge.log()[-1]
        assert "secret" not in line
        assert f"GET /_matrix/client/v3/sync?since=s1&{name}=<hidden> HTTP/1.1" in line
