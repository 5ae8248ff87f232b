"""gixy, which knows what goes wrong in configurations of nginx, finds nothing in ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.routing.edge import rendered
from tests.routing.plans import PLANS, everything

# What it reports without cause, and why we know better.
SKIPPED = {
    # It holds all but `return` for unsafe there. `error_page` and `return` are all that we have in one, the routing tests send
    # thousands of requests through each, and no directive of the location itself follows.
    "if_is_evil",
    # Synapse compares name and port that a browser asked for with public_baseurl before a single sign-on, and sends it there when
    # they differ (rest/client/login.py, SsoRedirectServlet). $host has no port: the browser would be sent round in circles.
    "host_spoofing",
    # One look for a file that is not there, for counted logins only: the way to go on behind limit_req.
    "try_files_is_evil_too",
}
MAIN_CONFIG = """
worker_rlimit_nofile 4096;
events {{ worker_connections 1024; }}
http {{
    include {folder}/etc/nginx/conf.d/*.conf;
    include {folder}/etc/nginx/sites-enabled/*.conf;
}}
"""
TLS = {"synapse_tls_certificate_path": "/etc/ssl/chain.pem", "synapse_tls_certificate_key_path": "/etc/ssl/key.pem"}


def findings(folder: Path, files: dict[str, str]) -> dict[str, str]:
    """What gixy reports of rendered files, by the name of its check."""
    for path, text in files.items():
        target = Path(f"{folder}{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("/etc/nginx/", f"{folder}/etc/nginx/"))
    (folder / "nginx.conf").write_text(MAIN_CONFIG.format(folder=folder))
    command = [str(Path(sys.executable).parent / "gixy"), "--format", "json", str(folder / "nginx.conf")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    # It complains on the other channel of what it cannot read.
    assert run.stdout, run.stderr
    assert "CRITICAL" not in run.stderr, run.stderr
    return {
        one["plugin"]: f"{one['severity']}: {one['reason'] or one['summary']}\n{one['config']}" for one in json.loads(run.stdout)
    }


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
@pytest.mark.parametrize("plan", ["nothing", "seven", "everything"])
def test_gixy_finds_nothing(plan: str, tls: bool, tmp_path: Path) -> None:
    workers = everything() if plan == "everything" else PLANS[plan]
    files, _ = rendered(workers, synapse_nginx_admin_allowed_from=["10.0.0.0/8"], **(TLS if tls else {}))
    found = findings(tmp_path, files)
    assert {name: text for name, text in found.items() if name not in SKIPPED} == {}


def test_nothing_is_skipped_that_is_not_reported(tmp_path: Path) -> None:
    files, _ = rendered(everything(), **TLS)
    assert set(findings(tmp_path, files)) >= SKIPPED


def test_gixy_would_find_something(tmp_path: Path) -> None:
    files, _ = rendered([], **TLS)
    site = "/etc/nginx/sites-enabled/matrix-synapse.conf"
    files[site] = files[site].replace("server_tokens off;", "").replace("always;", ";")
    assert "version_disclosure" in findings(tmp_path, files)
