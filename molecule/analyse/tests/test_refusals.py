"""A log that cannot be read gets a clear word through Ansible, and nothing is written on its host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fleet import SERVICE, Fleet

LOG = f"/var/log/nginx/{SERVICE}.access.log"
BROKEN = "/srv/broken"

# Files, made on the host by these commands, and what is said of them.
FILES = {
    "binary": ("head -c 200000 /dev/urandom >{}", "is no text but something binary; name the log itself"),
    "short.gz": (f"gzip -c {LOG} | head -c 2000 >{{}}", "ends too early: a truncated gzip file; leave it out, or get it anew"),
    "wrong": ("yes 'neither one nor the other' | head -n 900 >{}", "is in none of the formats that were tried"),
    "forbidden": (f"install -m 0600 {LOG} {{}}", "no permission to read it; run with `become`"),
    "empty": (": >{}", "empty; was it rotated just now? `rotated` reads what it was before, too"),
    "missing": (":", "there is no such file; say where the access log is with `path`"),
}


@pytest.fixture
def broken(fleet: Fleet) -> Iterator[None]:
    fleet.output(fleet.main_host, f"mkdir -p {BROKEN}")
    for name, (command, _word) in FILES.items():
        fleet.output(fleet.main_host, command.format(f"{BROKEN}/{name}"))
    yield
    fleet.output(fleet.main_host, f"rm -r {BROKEN}")


def test_what_cannot_be_read_gets_a_clear_word_and_nothing_is_written(fleet: Fleet, broken: None) -> None:
    before = fleet.everything(fleet.main_host)
    for name, (_command, word) in FILES.items():
        # Nobody may read everything but root.
        who = ["-e", "ansible_become=false", "-e", "ansible_user=nobody"] if name == "forbidden" else []
        run = fleet.attempt("analyse_access_log", fleet.inventory, "-e", f"path={BROKEN}/{name}", *who)
        # Lines are broken where the terminal ends.
        said = " ".join((run.stdout + run.stderr).split())
        assert run.returncode == 2, f"{name}: {said}"
        assert f"{BROKEN}/{name}" in said, f"{name}: {said}"
        assert word in said, f"{name}: {said}"
        assert "Traceback" not in said, f"{name}: {said}"
    assert fleet.everything(fleet.main_host) == before
