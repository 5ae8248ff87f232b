"""The hosts of a scenario, as a test needs them: what was planned, what runs, and a way to plan something else.

What is expected of a plan is worked out here from the inventory's rows alone, as a reader of the documentation would
do it, and not by the code that is tested.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra
import yaml
from outsider.__main__ import traffic
from outsider.edge import Edge
from outsider.judge import Plan, Row
from outsider.signing import SigningKey

from bench.load.load import Load
from bench.load.people import Size

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "matrix-synapse"
# All processes of Synapse, in systemctl's terms.
UNITS = f"'{SERVICE}.service' '{SERVICE}-worker@*.service'"
CONFIG = f"/etc/{SERVICE}"
PLAN = "group_vars/all/plan.yml"
# Operators run Ansible on another machine. Here it shares the cores with the server, and all containers together may weigh no more
# than one process beside them (cgroup v1).
POLITELY = ["nice", "-n", "10"]


class Fleet:
    """The containers of one scenario, and its inventory."""

    def __init__(self, inventory: Path) -> None:
        self.inventory = inventory
        self.environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"),
            "ANSIBLE_PIPELINING": "1",
            # molecule asks for colours, where nothing told it not to.
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        }

    @cached_property
    def _listing(self) -> dict[str, Any]:
        command = ["ansible-inventory", f"--inventory={self.inventory}", "--list"]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment)
        listing: dict[str, Any] = json.loads(run.stdout)
        return listing

    def group(self, name: str) -> list[str]:
        """The hosts of a group, those of its children included."""
        group = self._listing.get(name, {})
        below = [host for child in group.get("children", []) for host in self.group(child)]
        return list(dict.fromkeys([*group.get("hosts", []), *below]))

    def variable(self, name: str, default: Any = None, host: str = "") -> Any:
        """A variable of a host, of the first one unless named."""
        return self._listing["_meta"]["hostvars"][host or self.group("synapse")[0]].get(name, default)

    @property
    def hosts(self) -> list[str]:
        """All hosts of the homeserver."""
        return self.group("synapse")

    @property
    def main_host(self) -> str:
        """Where the main process runs."""
        return str(self.variable("synapse_main_host", self.hosts[0]))

    @property
    def edges(self) -> list[str]:
        """Where nginx runs."""
        return list(self.variable("synapse_nginx_hosts", [self.main_host]))

    def ip(self, host: str) -> str:
        """The address of a container."""
        return str(self.variable("container_ip", host=host))

    def on(self, host: str) -> Any:
        """A host as testinfra sees it."""
        return testinfra.get_host(f"docker://{host}")

    def output(self, host: str, command: str) -> str:
        """What a shell command prints there; it has to succeed."""
        return str(self.on(host).check_output("sh -c %s", command))

    def get(self, host: str, url: str, socket: str = "") -> str:
        """What a URL, or its path at a socket, answers to the host itself; a bare Debian has no curl."""
        ask = (
            "import http.client, socket, sys, urllib.parse; url = urllib.parse.urlsplit(sys.argv[1]);"
            "c = http.client.HTTPConnection(url.hostname, url.port, timeout=10);"
            "c.sock = sys.argv[2] and socket.socket(socket.AF_UNIX) or None; c.sock and c.sock.connect(sys.argv[2]);"
            "c.request('GET', url.path); answer = c.getresponse(); assert answer.status == 200; print(answer.read().decode())"
        )
        return str(self.on(host).check_output("python3 -c %s %s %s", ask, url, socket))

    # What is planned

    @property
    def rows(self) -> list[dict[str, Any]]:
        """``synapse_workers``."""
        return list(self.variable("synapse_workers"))

    def workers(self, rows: list[dict[str, Any]] | None = None) -> dict[str, str]:
        """Name of each planned worker → its host."""
        planned = {}
        for row in self.rows if rows is None else rows:
            prefix = row.get("name") or row["type"]
            for host in self.group(row["group"]) if "group" in row else [row.get("host", self.main_host)]:
                for number in range(1, row.get("count", 1) + 1):
                    infix = "" if host == self.main_host else f"{host}-"
                    planned[f"{prefix}-{infix}{number}"] = host
        return planned

    def units(self, host: str, rows: list[dict[str, Any]] | None = None) -> set[str]:
        """The units of Synapse that are planned for a host."""
        units = {f"{SERVICE}-worker@{name}.service" for name, where in self.workers(rows).items() if where == host}
        return units | ({f"{SERVICE}.service"} if host == self.main_host else set())

    # What runs

    def invocations(self) -> dict[str, str]:
        """``host unit`` of every process that must survive a change of others → systemd's id of this run of it."""
        running = {}
        for host in self.hosts:
            listed = self.output(
                host,
                f"systemctl list-units --plain --no-legend --state=active,activating {UNITS} "
                "'postgresql@*.service' 'redis*.service' 'nginx.service' | cut -d' ' -f1 | "
                "xargs -r systemctl show --property=Id,InvocationID",
            )
            for block in filter(None, listed.split("\n\n")):
                fields = dict(line.split("=", 1) for line in block.strip().splitlines())
                running[f"{host} {fields['Id']}"] = fields["InvocationID"]
        return running

    def written(self) -> dict[str, str]:
        """``host path`` of every settings file → when it was written."""
        times = {}
        for host in self.hosts:
            for line in self.output(host, f"find {CONFIG} /etc/systemd/system /etc/nginx -type f -printf '%T@ %p\\n'").split(
                "\n"
            ):
                time, _, path = line.partition(" ")
                times[f"{host} {path}"] = time
        return times

    def everything(self, host: str) -> list[str]:
        """Every file of a host with mode, owner, size and time, without what its daemons write all the time."""
        own = "/dev /proc /sys /run /var/lib/postgresql /var/lib/redis /var/lib/systemd"
        own += " /var/log/journal /var/log/postgresql /var/log/redis"
        pruned = " -o ".join(f"-path {path}" for path in own.split())
        kinds = r"\( -type d -printf '%p %m %u\n' -o -printf '%p %m %u %s %T@\n' \)"
        return sorted(self.output(host, rf"find / \( {pruned} \) -prune -o {kinds} 2>/dev/null || true").splitlines())

    # What is done

    def attempt(self, playbook: str, inventory: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook of ours, whatever becomes of it."""
        command = [*POLITELY, "ansible-playbook", f"--inventory={inventory}", f"synapse.workers.{playbook}", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)

    def play(self, playbook: str, inventory: Path, *options: str) -> dict[str, dict[str, int]]:
        """Run a playbook of ours; host → the counts of Ansible's recap. Fails the test when the playbook fails."""
        run = self.attempt(playbook, inventory, *options)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        recap = run.stdout.split("PLAY RECAP", 1)[1]
        return {
            match["host"]: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", match["counts"])}
            for match in re.finditer(r"^(?P<host>\S+)\s+: (?P<counts>.*)$", recap, re.M)
        }

    def roll_out(self, inventory: Path) -> dict[str, dict[str, int]]:
        """Bring a plan into force."""
        return self.play("roll_out", inventory)

    def edited(self, folder: Path, rows: list[dict[str, Any]], **variables: Any) -> Path:
        """A copy of the inventory with another plan, below ``folder``, and with other ``variables``."""
        copy = folder / "inventory"
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(self.inventory, copy)
        plan = yaml.safe_load((copy / PLAN).read_text())
        plan.update(variables, synapse_workers=rows)
        (copy / PLAN).write_text(yaml.safe_dump(plan, sort_keys=False))
        return copy

    def edge(self, folder: Path) -> Edge:
        """The way in. ``folder``: for the certificate to trust, where there is one."""
        certificate, name, host = (
            self.variable("synapse_tls_certificate_path"),
            self.variable("synapse_server_name"),
            self.edges[0],
        )
        if not certificate:
            return Edge(f"http://{self.ip(host)}", name)
        trusted = folder / "edge.pem"
        trusted.write_text(self.output(host, f"cat {certificate}"))
        return Edge(f"https://{self.ip(host)}", name, ca_file=str(trusted))

    @property
    def signing_key(self) -> SigningKey:
        """The server's own, with which its tests sign as another server would."""
        return SigningKey.read(self.output(self.main_host, f"cat {CONFIG}/secrets/signing.key"))

    @property
    def _access_log(self) -> str:
        return shlex.join(["docker", "exec", self.edges[0], "cat", f"/var/log/nginx/{SERVICE}.access.log"])

    def traffic(self, folder: Path, rows: list[dict[str, Any]] | None = None) -> tuple[list[Row], dict[str, str]]:
        """Ask everything, judge it by the inventory's plan or by ``rows``."""
        return traffic(
            self.edge(folder), self._access_log, Plan.read(self.rows if rows is None else rows), self.signing_key, sso=True
        )

    def answers(self, folder: Path) -> list[Row]:
        """Ask everything; anybody may answer it."""
        return traffic(self.edge(folder), self._access_log, None, self.signing_key, sso=True)[0]

    def load(self, folder: Path, size: Size, most_seconds: float = 1800) -> Load:
        """Users who go on while something is changed, ``most_seconds`` at most."""
        return Load(self.edge(folder), size, self.signing_key, most_seconds)
