"""A real nginx with the files that the role renders, in front of workers that only say who they are."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig

ROOT = Path(__file__).parents[2]

# Filters are found only by Ansible's own finder, and modules it has not loaded itself hide them.
if AnsibleCollectionConfig.collection_finder is None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ansible_collections"]:
        del sys.modules[name]
    init_plugin_loader([str(ROOT / ".cache" / "collections")])

from ansible_collections.synapse.workers.plugins.plugin_utils._change_steps import interim_topology  # noqa: E402
from ansible_collections.synapse.workers.plugins.plugin_utils._topology import topology  # noqa: E402

# The rendered site runs inside a main config of the test, on ports and paths of the test.
MAIN_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{jit}
events {{ worker_connections 2048; }}
http {{
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/etc/nginx/conf.d/*.conf;
    include {folder}/etc/nginx/sites-enabled/*.conf;
}}
"""

# What an operator may have who only includes the snippet.
OWN_SITE = """
server {
    listen 80;
    include /etc/nginx/snippets/matrix-synapse.conf;
    location / { return 200 "another page"; }
}
"""


def role_variables() -> dict[str, Any]:
    """Defaults and internal variables of the roles that rendering needs, as Ansible would load them."""
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for path in ("synapse/defaults", "nginx/defaults", "synapse/vars", "nginx/vars"):
        variables.update(loader.load_from_file(str(ROOT / "roles" / path / "main.yml"), trusted_as_template=True))
    return variables


def rendered(workers: list[dict[str, Any]], **variables: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """({path: text} of everything the role nginx writes, the topology) for one host called app1.

    With ``held`` among the variables: as it is while a run holds all requests.
    """
    held = bool(variables.pop("held", False))
    facts = {
        "inventory_hostname": "app1",
        "groups": {"synapse": ["app1"], "all": ["app1"]},
        "hostvars": {"app1": {}},
        "synapse_server_name": "example.org",
        "synapse_workers": workers,
        "ansible_search_path": [str(ROOT / "roles" / "nginx")],
        "role_path": str(ROOT / "roles" / "synapse"),
    }
    templar = Templar(loader=DataLoader(), variables={**role_variables(), **facts, **variables})
    settings = templar.template(trust_as_template("{{ __synapse_plan_settings }}"))
    plan = topology(workers, json.loads(json.dumps(settings, default=str)))
    assert plan["problems"] == []
    seen = interim_topology(plan, {}, held=True) if held else plan
    templar.available_variables = {**templar.available_variables, "synapse_topology": plan, "__nginx_topology": seen}
    files = templar.template(trust_as_template("{{ __nginx_files }}"))
    return {str(file["path"]): str(file["content"]) for file in files}, plan


def free_port() -> int:
    """A port of the loopback that nobody listens on, and that no outgoing connection can take meanwhile."""
    while True:
        # Below 32768, where Linux begins to give ports to connections.
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Workers:
    """Processes that answer every request with their name and the bytes they were sent."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.silent: set[str] = set()
        """Names of workers that take a request and then break off, as a worker does that is stopped under way."""
        self.seen: list[str] = []
        """First lines of all requests, in the order in which they came."""
        self.dying: set[str] = set()
        """Names of those that besides listen no more, as Synapse does first when it is told to stop."""
        self.mute: set[str] = set()
        """Names of those that take a request and say nothing."""
        self.broken_off: list[tuple[str, str]] = []
        """(worker, request line) of what all these took."""
        self.loop = asyncio.new_event_loop()
        self.servers: dict[str, asyncio.base_events.Server] = {}
        self.open: dict[str, list[asyncio.StreamWriter]] = {}
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        for name in addresses:
            self.start(name)

    def start(self, name: str) -> None:
        asyncio.run_coroutine_threadsafe(self._start(name), self.loop).result(10)

    def stop(self, name: str) -> None:
        """Refuse connections from now on."""

        async def stop() -> None:
            self.servers.pop(name).close()
            for writer in self.open.pop(name, []):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(10)
        if not self.addresses[name].startswith("127."):
            Path(self.addresses[name]).unlink(missing_ok=True)

    def close(self) -> None:
        for name in list(self.servers):
            self.stop(name)
        # Let what was aborted come to its end.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _start(self, name: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.open.setdefault(name, []).append(writer)
            try:
                while True:
                    await self._answer(name, reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        address = self.addresses[name]
        if address.startswith("127."):
            host, port = address.split(":")
            self.servers[name] = await asyncio.start_server(serve, host, int(port))
        else:
            self.servers[name] = await asyncio.start_unix_server(serve, address)

    async def _answer(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *headers = head.strip().split("\r\n")
        self.seen.append(line)
        fields = {key.lower(): value.strip() for key, _, value in (header.partition(":") for header in headers)}
        length = int(fields.get("content-length", 0))
        sent = await reader.readexactly(length) if length else b""
        if name in self.mute and not line.startswith("GET /health "):
            self.broken_off.append((name, line))
            await reader.read()
            raise ConnectionError
        if name in self.silent and not line.startswith("GET /health "):
            self.broken_off.append((name, line))
            if name in self.dying:
                self.servers.pop(name).close()
            raise ConnectionError
        body = json.dumps({"worker": name, "line": line, "headers": fields, "length": len(sent)}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        # What HEAD asks for is the head alone.
        writer.write(b"" if line.startswith("HEAD ") else body)
        await writer.drain()


class Answer:
    """What came back through nginx."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def said(self) -> dict[str, Any]:
        """What the worker said; {} when no worker answered."""
        if self.status != 200 or not self.body.startswith(b'{"worker"'):
            return {}
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def worker(self) -> str:
        """Name of the worker that answered, or ''."""
        return str(self.said.get("worker", ""))


class Edge:
    """nginx with rendered files, its workers, and a client that sends bytes as they are."""

    def __init__(self, folder: Path, workers: list[dict[str, Any]], tcp: bool = False, **variables: Any) -> None:
        self.folder = folder
        files, self.plan = rendered(workers, synapse_unix_sockets=not tcp, **variables)
        if not any("/sites-enabled/" in path for path in files):
            files["/etc/nginx/sites-enabled/own.conf"] = OWN_SITE
        self.files = files
        self.port = free_port()
        processes = [self.plan["main"], *self.plan["workers"]]
        self.pools_of = {process["name"]: process["types"] for process in processes}
        service = self.plan["service"]
        turned = {"/etc/nginx": f"{folder}/etc/nginx", "/var/log/nginx": str(folder), f"/run/{service}-hold/": f"{folder}/"}
        if tcp:
            ports = {f"127.0.0.1:{one['listen']['port']}": f"127.0.0.1:{free_port()}" for one in processes}
            self.addresses = {one["name"]: ports[f"127.0.0.1:{one['listen']['port']}"] for one in processes}
            turned.update(ports)
        else:
            for path in (f"/run/{service}/", re.escape(f"/run/{service}/")):
                turned[path] = re.escape(f"{folder}/") if "\\" in path else f"{folder}/"
            self.addresses = {one["name"]: f"{folder}/{one['name']}.sock" for one in processes}
        for path, text in files.items():
            for old, new in turned.items():
                text = text.replace(old, new)
            text = re.sub(r"listen 127\.0\.0\.1:\d+;", f"listen 127.0.0.1:{free_port()};", text)
            text = re.sub(r"listen 80;", f"listen 127.0.0.1:{self.port};", text)
            target = Path(f"{folder}{path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(re.sub(r" *listen \[::\].*\n", "", text))
        jit = files.get("/etc/nginx/modules-enabled/50-pcre-jit.conf", "")
        # As root, nginx would give its children to nobody, who may not enter the folder.
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(MAIN_CONFIG.format(folder=folder, jit=jit, user=user))
        self.workers = Workers(self.addresses)
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin") or "nginx"
        self.process = subprocess.Popen([program, "-c", f"{folder}/nginx.conf"], stderr=subprocess.PIPE)
        self.connection: socket.socket | None = None
        for _ in range(100):
            if self.process.poll() is not None:
                raise RuntimeError((self.process.stderr.read() if self.process.stderr else b"").decode())
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.process.terminate()
        self.process.communicate(timeout=20)
        self.workers.close()

    def ask(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        """Send one request, the target byte for byte as given."""
        fields = {"Host": "example.org", **(headers or {})}
        if body is not None or method in ("POST", "PUT"):
            fields["Content-Length"] = str(len(body or b""))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        data = head.encode("latin-1") + b"\r\n" + (body or b"")
        for attempt in range(2):
            # nginx closes a connection after an error of the client's, or after a thousand requests.
            if self.connection is None:
                self.connection = socket.create_connection(("127.0.0.1", self.port), 30)
            try:
                self.connection.sendall(data)
                return self._read(method)
            except (ConnectionError, EOFError):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise
        raise AssertionError

    def _read(self, method: str) -> Answer:
        assert self.connection is not None
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = self.connection.recv(65536)
            if not chunk:
                raise EOFError
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(body) < length:
            body += self.connection.recv(65536)
        if headers.get("connection") == "close":
            self.connection.close()
            self.connection = None
        return Answer(int(first.split()[1]), headers, body)

    def log(self) -> list[str]:
        """The lines of the access log, one for each request that was asked."""
        # nginx writes the line after it has sent the answer, but before its one child looks at another request.
        self.ask("GET", "/end-of-log")
        lines = (self.folder / f"{self.plan['service']}.access.log").read_text().splitlines()
        return [line for line in lines if '"GET /end-of-log ' not in line]
