"""A server that somebody set up by hand, as the stories of the scenario `adopt` need it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import Fleet
from outsider.edge import Edge

from bench.load.book import Figures
from bench.load.load import Load
from bench.load.people import Size

# Every file, folder and link with its owner and mode, every text, every unit with its state. Account tools keep a copy of the file before
# their last change under a name that ends with a dash.
SNAPSHOT = r"""
find /etc /usr/local /var/lib/synapse /var/lib/synapse-workers \( -name media_store -prune \) -o ! -name '*-' -printf '%y %m %u:%g %p %l\n' 2>/dev/null
find /etc /usr/local -type f ! -name '*-' -exec sha256sum {} +
systemctl list-unit-files --no-legend --no-pager --full
systemctl list-units --type=service,socket --no-legend --no-pager --plain --full --state=active | cut -d' ' -f1 | grep -v '^systemd-\|^user'
"""
VHOST = "/etc/nginx/sites-available/matrix"


class Server:
    """What was found of it, and where."""

    def __init__(self, fleet: Fleet, host: str) -> None:
        self.fleet, self.host = fleet, host
        self.folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "adopted" / host
        self.report = (self.folder / "report.md").read_text()
        self.inventory = self.folder / "inventory.yml"
        self.before: set[str] = set()

    def output(self, command: str) -> str:
        return self.fleet.output(self.host, command)

    def snapshot(self) -> set[str]:
        return set(self.output(SNAPSHOT).splitlines())

    def play(self, playbook: str, *options: str) -> str:
        command = [
            "nice",
            "-n",
            "10",
            "ansible-playbook",
            f"--inventory={self.inventory}",
            f"synapse.workers.{playbook}",
            *options,
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=self.fleet.environment)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        return run.stdout

    def include(self, server_name: str, snippet: str) -> None:
        """Puts the line into the operator's vhost, as the documentation tells him."""
        line = f"include {snippet};"
        self.output(f"sed -i 's,^    server_name {server_name};,&\\n    {line},' {VHOST} && systemctl reload nginx")
        assert line in self.output(f"cat {VHOST}")

    def workers(self, service: str) -> set[str]:
        """Names of those of ours that run."""
        units = self.output(f"systemctl list-units --plain --no-legend --state=active '{service}-worker@*' | cut -d' ' -f1")
        return {unit.partition("@")[2].removesuffix(".service") for unit in units.split()}


@contextmanager
def users(edge: Edge, config: pytest.Config, download: str = Size.download) -> Iterator[Load]:
    """A few who stay for a whole story; their account is printed, whatever becomes of it."""
    load = Load(edge, Size(quiet=4, devices=2, rooms=2, talkers=3, pace=0.3, download=download))
    try:
        with load:
            yield load
    finally:
        capture = config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{load.table()}")


def operation(load: Load, name: str, act: Callable[[], object]) -> Figures:
    """What users saw while something was done, and a little longer."""
    with load.operation(name) as under_way:
        act()
        # What comes of it shows in the next requests.
        enough = len(load.book.entries) + 30
        while len(load.book.entries) < enough:
            time.sleep(0.1)
    return load.figures(under_way)
