"""Answers like a ready worker of Synapse on the ports of its settings, for one fiftieth of its memory.

So that 64 of them fit on the bench's host. Run as ``stub.py NAME`` by a drop-in of the workers' unit.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEARD = 'synapse_replication_tcp_protocol_inbound_commands_total{command="POSITION",name="1"} 1.0\n'


class Stub(BaseHTTPRequestHandler):
    """What ``module_utils/_probe.py`` asks, as a ready worker answers it."""

    def do_GET(self) -> None:
        body = HEARD.encode() if self.path == "/_synapse/metrics" else b"OK"
        self.send_response(401 if "whoami" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


settings = Path(f"/etc/matrix-synapse/workers/{sys.argv[1]}.yaml").read_text()
servers = [ThreadingHTTPServer(("127.0.0.1", int(port)), Stub) for port in dict.fromkeys(re.findall(r"port: (\d+)", settings))]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
    ready.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    ready.send(b"READY=1")
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
