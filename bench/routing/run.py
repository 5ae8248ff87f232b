#!/usr/bin/env python3
"""What routing costs nginx, against a single ``location /`` and against the forms that others use, in the same run.

Two measures, both of the proxying nginx alone:

* instructions per request, by valgrind's callgrind: the difference of two dumps around some hundred requests. They repeat to
  less than one in a hundred on a busy machine. Each pool answers by itself here, so that routing is all there is.
* CPU time per proxied request, from ``/proc/<pid>/schedstat``. Only ratios are shown: every design is asked in turn, in rounds,
  and each round is a pair with the reference's.

Run ``bench/routing/run.py``; it needs nginx and valgrind, listens on the loopback only and ends after some minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".cache" / "collections")]

from ansible_collections.synapse.workers.plugins.module_utils import _endpoints  # noqa: E402
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import MAIN, pool_of, regex_of  # noqa: E402
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import TABLE  # noqa: E402

from bench.machine import machine  # noqa: E402
from bench.report import page, publish, table  # noqa: E402
from tests.routing.edge import free_port, rendered  # noqa: E402
from tests.routing.plans import PLANS, Row  # noqa: E402

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin") or "nginx"
Request = tuple[str, str]

# --- What is asked -----------------------------------------------------------------------------------------------------------

ROOM = "!GZxPpZcvAyfDTOkuQV:example.org"
CLIENT = "/_matrix/client/v3"
SYNC = ("GET", f"{CLIENT}/sync?filter=0&timeout=30000&since=s72595_4483_1934_1_22_3_17_4_0")
# Two requests of twenty, the rest being /sync: what clients and other servers do while they wait for news.
OTHERS: list[Request] = [
    ("PUT", f"{CLIENT}/rooms/{ROOM}/send/m.room.message/m1700000000000.1"),
    ("PUT", f"{CLIENT}/rooms/{ROOM}/send/m.room.encrypted/m1700000000000.2"),
    ("PUT", f"{CLIENT}/rooms/{ROOM}/typing/%40alice%3Aexample.org"),
    ("POST", f"{CLIENT}/rooms/{ROOM}/receipt/m.read/%24event"),
    ("POST", f"{CLIENT}/rooms/{ROOM}/read_markers"),
    ("GET", f"{CLIENT}/rooms/{ROOM}/messages?from=t1-2_3&dir=b&limit=30"),
    ("GET", f"{CLIENT}/rooms/{ROOM}/members?not_membership=leave"),
    ("GET", f"{CLIENT}/profile/%40alice%3Aexample.org"),
    ("POST", f"{CLIENT}/keys/query"),
    ("POST", f"{CLIENT}/keys/upload"),
    ("PUT", f"{CLIENT}/sendToDevice/m.room.encrypted/m1700000000000.3"),
    ("POST", f"{CLIENT}/user_directory/search"),
    ("GET", "/_matrix/client/versions"),
    ("GET", f"{CLIENT}/pushers"),
    ("GET", "/_matrix/client/v1/media/thumbnail/example.org/abcdefgh?width=96&height=96&method=crop"),
    ("GET", "/_matrix/client/v1/media/download/example.org/abcdefgh"),
    ("PUT", "/_matrix/federation/v1/send/1700000000000"),
    ("PUT", "/_matrix/federation/v1/send/1700000000001"),
    ("GET", "/_matrix/federation/v1/query/profile?user_id=%40bob%3Aexample.org&field=displayname"),
    ("GET", "/_matrix/key/v2/server"),
]
WORKLOADS: dict[str, list[Request]] = {
    # Nine of ten are /sync, as in the log that the project began with.
    "mix": [request for other in OTHERS for request in [*[SYNC] * 9, other]],
    # A call that only the main process serves: no expression matches, so all that are asked are asked in vain.
    "unmatched": [("POST", f"{CLIENT}/rooms/{ROOM}/report/%24event")],
    "send": [OTHERS[0]],
    "typing": [OTHERS[2]],
}

LOGIN: dict[str, list[Request]] = {"login": [("POST", f"{CLIENT}/login")]}

# Every endpoint of the table, each by its own, to find the dearest.
EACH: dict[str, list[Request]] = {
    f"{method} {row.sample.partition('?')[0]}": [(method, row.sample)]
    for row in _endpoints.rows_for()
    if not _endpoints.AREA[row.area].guarded and row.path != "/{rest}" and row.area != "well_known"
    for method in row.methods
}

# --- Designs -----------------------------------------------------------------------------------------------------------------

SEVEN = PLANS["seven"]
EVERY: list[Row] = [{"type": row.name} for row in TABLE]


class Design(NamedTuple):
    """A way to route: what stands in ``http {}`` and what in ``server {}``."""

    name: str
    http: str
    server: str
    jit: bool = True


# What every design but the one of 2020 gets, so that only routing differs: the proxy settings of our own snippet.
PROXY = """
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
"""
POOL = """
upstream {name} {{
    zone {name} 64k;
    server 127.0.0.1:8008 max_fails=0;
    keepalive 128;
    keepalive_timeout 30s;
}}
"""


def ours(name: str, workers: list[Row], jit: bool = True, **variables: object) -> Design:
    """What the role renders."""
    # Log-ins go through their limit, which is further away than we ask.
    files, _ = rendered(workers, **{"synapse_nginx_login_burst": 100_000, **variables})
    server = files["/etc/nginx/snippets/matrix-synapse.conf"] + "\nlocation / { return 418; }\n"
    for path, text in files.items():
        server = server.replace(f"include {path};", text)
    return Design(name, files["/etc/nginx/conf.d/matrix-synapse.conf"], server, jit)


def pooled(pools: list[str]) -> str:
    """Upstreams like ours."""
    return "".join(POOL.format(name=name) for name in pools)


def limit() -> Design:
    """The least that a proxy can do."""
    return Design("one `location /`", pooled(["pool"]), f"{PROXY}location / {{ proxy_pass http://pool; }}")


def loose(path: str) -> str:
    """A path of the table as most lists write it: a room id is ``.*``."""
    return regex_of(path.replace("/{room}/", "/ROOM/")).replace("ROOM", ".*").replace("[^/?]*", "[^/]*").replace("[^?]*", ".*")


def paths_by_pool(workers: list[Row]) -> list[tuple[str, str]]:
    """(path, pool) of every row of the table that a worker of the plan serves, in table order, methods left out."""
    planned = [str(row["type"]) for row in workers]
    found = [(row.path, pool_of(row, planned)) for row in _endpoints.rows_for() if row.area != "admin"]
    return [(path, pool) for path, pool in dict(reversed(found)).items() if pool != MAIN and path != "/{rest}"][::-1]


def one_location_each() -> Design:
    """A location per expression, as a reader of Synapse's documentation writes it, ``/sync`` first."""
    rows = paths_by_pool(EVERY)
    pools = list(dict.fromkeys(pool for _, pool in rows))
    lines = [f"location ~ ^{loose(path)}$ {{ proxy_pass http://{pool}; }}" for path, pool in rows]
    rest = "location / { proxy_pass http://main; }"
    return Design("a location per expression", pooled([*pools, MAIN]), PROXY + "\n".join([*lines, rest]))


def one_map() -> Design:
    """All expressions in one map."""
    rows = paths_by_pool(EVERY)
    pools = list(dict.fromkeys(pool for _, pool in rows))
    lines = [f"    ~^{loose(path)}$ {pool};" for path, pool in rows]
    chosen = "map $uri $pool {\n    default main;\n" + "\n".join(lines) + "\n}\n"
    return Design("one map of all", pooled([*pools, MAIN]) + chosen, f"{PROXY}location / {{ proxy_pass http://$pool; }}")


def of_2020() -> Design:
    """One long expression per type, a new connection per request: how it was commonly done, and still often is."""
    by_pool: dict[str, list[str]] = {}
    for path, pool in paths_by_pool(SEVEN):
        by_pool.setdefault(pool, []).append(loose(path))
    lines = [
        f'location ~ "^(?:{"|".join(paths)})$" {{ proxy_pass http://127.0.0.1:8008$request_uri; }}'
        for _, paths in by_pool.items()
    ]
    server = "proxy_set_header X-Forwarded-For $remote_addr;\n" + "\n".join(lines)
    server += "\nlocation ~ ^/_matrix/ { proxy_pass http://127.0.0.1:8008$request_uri; }\nlocation / { return 404; }"
    return Design("2020: an expression per type, HTTP/1.0", "", server)


# --- Processes ---------------------------------------------------------------------------------------------------------------

MAIN_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
{jit}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/b;
    proxy_temp_path {folder}/p;
    fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=512;
        {server}
    }}
}}
"""


# What stands for the workers: it answers at once, on a port and on a socket.
ANSWER = "listen unix:{socket}; location / {{ return 200 '{body}'; }}"
BODY = '{"next_batch":"s72595_4483_1934_1_22_3_17_4_1","rooms":{}}'


class Nginx(NamedTuple):
    """A running nginx."""

    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def nginx(folder: Path, design: Design, command: list[str] | None = None, cpu: int | None = None) -> Iterator[Nginx]:
    """A single nginx process with a design, until the end of the block."""
    folder.mkdir()
    port = free_port()
    jit = "pcre_jit on;" if design.jit else ""
    text = MAIN_CONFIG.format(folder=folder, jit=jit, http=design.http, server=design.server, port=port)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([*(command or []), NGINX, "-c", f"{folder}/nginx.conf"], stderr=subprocess.PIPE)
    try:
        for _ in range(300):
            if process.poll() is not None:
                raise RuntimeError((process.stderr.read() if process.stderr else b"").decode())
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        if cpu is not None:
            os.sched_setaffinity(process.pid, {cpu})
        yield Nginx(port, process)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def message(request: Request) -> bytes:
    method, target = request
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    fields = (
        f"Host: example.org\r\n{length}Authorization: Bearer syt_YWxpY2U_aaaaaaaaaaaaaaaaaaaa_1a2b3c\r\nUser-Agent: bench\r\n"
    )
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()


def length_of(answer: bytes) -> int:
    """Bytes of a whole answer, or a huge number while its head is incomplete."""
    head, mark, _ = answer.partition(b"\r\n\r\n")
    if not mark:
        return sys.maxsize
    found = re.search(rb"(?i)content-length: (\d+)", head)
    if not head.startswith(b"HTTP/1.1 200") or not found:
        raise RuntimeError(head.decode())
    return len(head) + 4 + int(found.group(1))


def ask(port: int, messages: list[bytes], connections: int = 1) -> None:
    """Send all messages, over some connections at once, and wait for every answer."""
    with selectors.DefaultSelector() as selector:
        sockets = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(connections)]
        for one in sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one, selectors.EVENT_READ, one)
        waiting = dict.fromkeys(sockets, b"")
        left = iter(messages)
        busy = 0
        for one in sockets:
            data = next(left, b"")
            if data:
                one.sendall(data)
                busy += 1
        while busy:
            for key, _ in selector.select(30):
                one = key.data
                got = one.recv(65536)
                if not got:
                    raise RuntimeError("nginx closed the connection")
                waiting[one] += got
                if len(waiting[one]) < length_of(waiting[one]):
                    continue
                waiting[one] = b""
                data = next(left, b"")
                if data:
                    one.sendall(data)
                else:
                    busy -= 1
        for one in sockets:
            one.close()


# --- Instructions ------------------------------------------------------------------------------------------------------------


def unlogged(design: Design) -> Design:
    """The design without access log."""
    return design._replace(server=re.sub(r"access_log .*", "access_log off;", design.server))


def answering(design: Design) -> Design:
    """The design with every pool answering by itself: routing alone."""
    # $pool is the map that a rival looks at when it proxies.
    said = "$pool" if "$pool" in design.server else "pool"
    return unlogged(design._replace(server=re.sub(r"proxy_pass http://[^;]+;", f"return 200 {said};", design.server)))


def proxying(design: Design, address: str, folder: Path) -> Design:
    """The design with the backend for every worker; its log, if any, goes to a folder of ours."""
    http = re.sub(r"(\n *server) [^;{]+?( max_fails=0)?;", rf"\1 {address}\2;", design.http)
    server = design.server.replace("127.0.0.1:8008", address)
    return design._replace(http=http, server=server.replace("/var/log/nginx/", f"{folder}/"))


class Counter:
    """Instructions of a process under callgrind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder / 'callgrind'}"]

    def since_last(self, process: subprocess.Popen[bytes]) -> int:
        """Instructions since the last call."""
        before = set(self.folder.glob("callgrind.*"))
        subprocess.run(["callgrind_control", "--dump", str(process.pid)], check=True, capture_output=True, timeout=60)
        for _ in range(100):
            for new in set(self.folder.glob("callgrind.*")) - before:
                found = re.search(r"^(?:totals|summary): (\d+)", new.read_text(), re.MULTILINE)
                if found:
                    return int(found.group(1))
            time.sleep(0.05)
        raise RuntimeError("callgrind wrote no dump")


def instructions(folder: Path, design: Design, workloads: dict[str, list[Request]], count: int) -> dict[str, float]:
    """Instructions per request and workload; the same count each time, so that what a connection costs weighs the same."""
    folder.mkdir()
    counter = Counter(folder)
    found = {}
    with nginx(folder / "nginx", design, counter.command) as proxy:
        for name, requests in workloads.items():
            messages = [message(request) for request in requests]
            some = (messages * (count // len(messages) + 1))[:count]
            ask(proxy.port, some[:50])
            counter.since_last(proxy.process)
            ask(proxy.port, some)
            found[name] = counter.since_last(proxy.process) / count
    return found


# --- CPU time ----------------------------------------------------------------------------------------------------------------


def cpu_times(folder: Path, designs: dict[str, Design], rounds: int, count: int) -> dict[str, list[int]]:
    """Nanoseconds of CPU that each proxy took for the mix, one value per round."""
    cpus = sorted(os.sched_getaffinity(0))
    messages = [message(request) for request in WORKLOADS["mix"]]
    messages = (messages * (count // len(messages) + 1))[:count]
    found: dict[str, list[int]] = {name: [] for name in designs}
    with ExitStack() as stack:
        for cpu in {cpus[0], cpus[-1]}:
            stack.enter_context(awake(cpu))
        proxies = {
            name: stack.enter_context(nginx(folder / f"cpu{number}", design, cpu=cpus[0]))
            for number, (name, design) in enumerate(designs.items())
        }
        os.sched_setaffinity(0, {cpus[-1]})
        stack.callback(os.sched_setaffinity, 0, cpus)
        for number in range(rounds + 1):
            spent = {}
            for name in random.sample(list(proxies), len(proxies)):
                proxy = proxies[name]
                before = _cpu_time(proxy.process.pid)
                ask(proxy.port, messages, connections=32)
                spent[name] = _cpu_time(proxy.process.pid) - before
            # The first round warms up.
            for name, value in spent.items() if number else ():
                found[name].append(value)
    return found


@contextmanager
def awake(cpu: int) -> Iterator[None]:
    """Keep a core from sleeping, by work that gives way to all other.

    Whoever wakes a sleeping core pays for it, and on a virtual machine more than for the request; a busy server's do not sleep.
    """

    def lowly() -> None:
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lowly)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _cpu_time(pid: int) -> int:
    """Nanoseconds that a process has spent on a CPU."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


# --- The report --------------------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """How much there is to read of the routing."""

    lines: int
    """Lines that route: without comments and empty lines."""
    whole: int
    """The same with comments and empty lines."""
    longest: int


def size_of(design: Design) -> Size:
    """The part of the rendered files that says which request goes to which pool: maps, and the locations that lead to them."""
    http = design.http[design.http.index("# --- Which pool") : design.http.index("# --- What may be repeated")]
    server = design.server[design.server.index("# The code 418") : design.server.index("# Not Matrix")]
    # The way of a plain sync past the maps.
    hot = re.findall(r"^location = /_matrix/.*?^}", design.server, re.MULTILINE | re.DOTALL)
    lines = "\n".join([http, server, *hot]).splitlines()
    routing = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    return Size(len(routing), len(lines), max(map(len, lines)))


def count_instructions(folder: Path, backend: str, count: int) -> tuple[str, list[list[str]]]:
    """The tables of instructions, and the goals that they decide."""
    base = limit()
    rivals = [of_2020(), one_location_each(), one_map()]
    seven, every = ours("ours, the seven types of 2020", SEVEN), ours("ours, every type", EVERY)
    parts: list[str] = []
    above: list[list[dict[str, float]]] = []
    for title, view, designs in (
        ("Routing alone, JIT on", answering, [base, seven, every, *rivals]),
        ("Routing alone, JIT off", answering, [one._replace(jit=False) for one in [base, seven, every, *rivals]]),
        ("Proxied, JIT on", lambda one: unlogged(proxying(one, backend, folder)), [base, seven, every, *rivals]),
    ):
        measured = []
        for number, design in enumerate(designs):
            say(f"{title}: {design.name}")
            measured.append(instructions(folder / f"{len(parts)}-{number}", view(design), WORKLOADS, count))
        above.append([{name: values[name] - measured[0][name] for name in WORKLOADS} for values in measured[1:]])
        rows = [[designs[0].name, *(f"{value / 1000:.2f} k" for value in measured[0].values())]]
        rows += [[one.name, *map(thousands, costs.values())] for one, costs in zip(designs[1:], above[-1], strict=True)]
        parts.append(f"## {title}\n\n" + table(["instructions per request", *WORKLOADS], rows))
    unlimited = [ours(one.name, plan, synapse_nginx_login_rate=0) for one, plan in ((seven, SEVEN), (every, EVERY))]
    worst = dearest(folder / "each", [base, *unlimited])
    parts[0] += f"\n\nThe dearest of all {len(EACH)} endpoints: " + "; ".join(
        f"{design.name} {thousands(cost)} (`{name}`)" for design, (name, cost) in zip(unlimited, worst, strict=True)
    )
    say("log-ins")
    counted, free = (
        instructions(folder / f"login{number}", answering(one), LOGIN, 400)["login"]
        for number, one in enumerate((every, unlimited[1]))
    )
    parts[0] += f". That is without the limit for log-ins, which costs a log-in {thousands(counted - free)}."
    say("access log")
    log = proxying(seven, backend, folder)
    combined = log._replace(server=re.sub(r"(access_log \S+) \w+;", r"\1 combined;", log.server))
    some = {"mix": WORKLOADS["mix"]}
    off, plain, full = (
        instructions(folder / f"log{number}", design, some, count)["mix"]
        for number, design in enumerate([unlogged(log), combined, log])
    )
    parts.append(
        f"All this is without an access log. Ours costs {(full - off) / 1000:.1f} k instructions more per request of the mix, nginx's "
        f"own format `combined` {(plain - off) / 1000:.1f} k."
    )
    # Each for the seven types of 2020, and for every type.
    plans = [thousands(costs["mix"]) for costs in above[0][:2]]
    worsts = [thousands(costs["unmatched"]) for costs in above[0][:2]]
    without = [thousands(max(costs.values())) for costs in above[1][:2]]
    goals = [
        ["instructions above one `location /`, the mix", "at most +1.5 k", f"{plans[0]} (every type {plans[1]})"],
        [
            "instructions above one `location /`, a call that no worker serves",
            "at most +6 k",
            f"{worsts[0]} (every type {worsts[1]})",
        ],
        [
            "instructions above one `location /` without JIT, the dearest of four calls",
            "at most +35 k",
            f"{without[0]} (every type {without[1]})",
        ],
    ]
    return "\n\n".join(parts), goals


def thousands(count: float) -> str:
    """Instructions above the reference's, for a table."""
    return f"{count / 1000:+.2f} k"


def dearest(folder: Path, designs: list[Design]) -> list[tuple[str, float]]:
    """The endpoint of the table whose routing costs most, for each design but the first, which is what it is compared with."""
    folder.mkdir()
    say(f"all {len(EACH)} endpoints, {len(designs)} designs")
    base, *rest = (instructions(folder / str(number), answering(design), EACH, 40) for number, design in enumerate(designs))
    worst = []
    for found in rest:
        costs = {one: found[one] - base[one] for one in EACH}
        name = max(costs, key=costs.__getitem__)
        worst.append((name, costs[name]))
    return worst


def time_cpu(folder: Path, addresses: dict[str, str], rounds: int, count: int) -> tuple[str, list[list[str]]]:
    """The table of CPU time, and the goals that it decides."""
    port, socket_ = addresses["TCP"], addresses["unix sockets"]
    seven = ours("ours", SEVEN)
    log = "access_log /var/log/nginx/rival.log combined;\n"
    designs: dict[str, Design] = {}
    references: dict[str, str] = {}
    for logged, change in (("", unlogged), (", with access log", lambda one: one._replace(server=log + one.server))):
        own = unlogged if not logged else lambda one: one
        group = {
            "2020, TCP": proxying(change(of_2020()), port, folder),
            "one `location /`, TCP": proxying(change(limit()), port, folder),
            "a location per expression, TCP": proxying(change(one_location_each()), port, folder),
            "one `location /`, unix sockets": proxying(change(limit()), socket_, folder),
            "ours, TCP": proxying(own(seven), port, folder),
            "ours, unix sockets": proxying(own(seven), socket_, folder),
        }
        designs |= {f"{name}{logged}": design for name, design in group.items()}
        references |= {f"{name}{logged}": f"2020, TCP{logged}" for name in group}
    say(f"CPU time of {len(designs)} designs, {rounds} rounds")
    found = cpu_times(folder, designs, rounds, count)
    rows = []
    best: dict[str, str] = {}
    for name, values in found.items():
        reference = found[references[name]]
        ratios = sorted(one / other for one, other in zip(values, reference, strict=True))
        best[name], quarter = f"{min(values) / min(reference):.2f}", len(ratios) // 4
        rows.append([name, best[name], f"{statistics.median(ratios):.2f}", f"{ratios[quarter]:.2f}–{ratios[-1 - quarter]:.2f}"])
    # An access log is compared with an access log.
    head = ["CPU time per proxied request of the mix", "× 2020, TCP", "median round", "middle half of the rounds"]
    goals = [
        ["CPU time per request over that of 2020, TCP", "at most 0.33", best["ours, TCP"]],
        ["CPU time per request over that of 2020, unix sockets", "at most 0.25", best["ours, unix sockets"]],
    ]
    return f"{machine()}.\n\n{table(head, rows)}", goals


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def version() -> str:
    """Which nginx."""
    return "nginx " + subprocess.run([NGINX, "-v"], check=True, capture_output=True, text=True).stderr.split("/")[-1].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="What routing costs nginx.")
    parser.add_argument("--requests", type=int, default=400, help="requests per count of instructions")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of CPU time")
    parser.add_argument("--cpu-requests", type=int, default=1500, help="requests per design and round of CPU time")
    parser.add_argument("--write", type=Path, help="write the tables to this file too")
    arguments = parser.parse_args()
    for program in ("valgrind", "callgrind_control", NGINX):
        if not shutil.which(program):
            raise SystemExit(f"{program} is needed: apt-get install valgrind nginx-light")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        server = ANSWER.format(socket=folder / "backend.sock", body=BODY)
        backend = stack.enter_context(nginx(folder / "backend", Design("backend", "", server), cpu=max(os.sched_getaffinity(0))))
        addresses = {"TCP": f"127.0.0.1:{backend.port}", "unix sockets": f"unix:{folder}/backend.sock"}
        sizes = {name: size_of(ours(name, plan)) for name, plan in (("the seven types of 2020", SEVEN), ("every type", EVERY))}
        rows = [[name, str(size.lines), str(size.whole), str(size.longest)] for name, size in sizes.items()]
        counted, goals = count_instructions(folder, addresses["TCP"], arguments.requests)
        timed, more = time_cpu(folder, addresses, arguments.rounds, arguments.cpu_requests)
    seven, every = sizes.values()
    goals.append(["lines of routing", "at most 150", f"{seven.lines} (every type {every.lines})"])
    goals.append(["the longest line", "at most 300", f"{max(seven.longest, every.longest)} characters"])
    parts = ["## Size of the routing", table(["plan", "lines", "with comments", "longest"], rows), counted, "## CPU time", timed]
    publish(page("routing/run.py", [*more, *goals], parts, f", {version()}"), arguments.write)


if __name__ == "__main__":
    main()
