"""What the playbook `render` writes for the examples, judged by the programs that would read it: Synapse, nginx, systemd's rules.

Nothing is touched but a folder; the real Synapse parses the settings of every process of every host.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SYNAPSE = ROOT / ".venv-synapse/bin/python"
SECRETS = ("worker_replication_secret", "macaroon_secret_key", "form_secret", "registration_shared_secret", "redis_password")

ONE_HOST = ["matrix.example.org"]
INVENTORIES = {
    "one_host": ONE_HOST,
    "four_hosts": ["app1", "app2", "db1", "edge1"],
}


def render(inventory: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"), "ANSIBLE_NOCOLOR": "1"}
    command = ["ansible-playbook", "synapse.workers.render", "-i", str(inventory), "-e", f"render_dir={folder}", *more]
    return subprocess.run(command, env=environment, cwd=folder.parent, capture_output=True, text=True, check=False)


def rendered(example: str, folder: Path, *more: str) -> Path:
    ended = render(ROOT / "examples" / example / "inventory.yml", folder, *more)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("example", INVENTORIES)
def test_synapse_accepts_the_settings_of_every_process(example: str, tmp_path: Path) -> None:
    folder = rendered(example, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == INVENTORIES[example]
    judged = 0
    for host in sorted(folder.iterdir()):
        settings = host / "etc/matrix-synapse"
        if not settings.exists():
            continue
        # As if the host's root were this folder, with the secrets that a run would make.
        for path in settings.rglob("*.yaml"):
            path.write_text(path.read_text().replace("/etc/matrix-synapse/", f"{settings}/"))
        (settings / "secrets").mkdir()
        for name in SECRETS:
            (settings / "secrets" / name).write_text("secret")
        key = subprocess.run([SYNAPSE, "-m", "synapse._scripts.generate_signing_key"], capture_output=True, text=True, check=True)
        (settings / "secrets/signing.key").write_text(key.stdout)
        script = ROOT / "roles/synapse/files/validate_settings.py"
        workers = [path.stem for path in (settings / "workers").glob("*.yaml") if not path.stem.endswith(".log")]
        command: list[str | Path] = [SYNAPSE, script, settings, "example.org", tmp_path, *workers]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{host.name}: {ended.stdout}{ended.stderr}"
        judged += 1
        # The judge can say no, also to what Synapse itself would start with.
        for wrong, word in (
            ("stream_writers: {typing: [nobody-1]}", "nobody-1"),
            ("redis: {enabled: false}", "redis: is not enabled"),
            ("database: {name: sqlite3, args: {database: ':memory:'}}", "database: is SQLite"),
        ):
            (settings / "conf.d/99-wrong.yaml").write_text(wrong)
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.returncode == 1
            assert word in ended.stdout
        # A file behind ours would undo the plan in silence; an old word beside its successor would leave a duty to nobody.
        (settings / "conf.d/99-wrong.yaml").write_text("instance_map: {}")
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "99-wrong.yaml sets instance_map after" in ended.stdout
        (settings / "conf.d/99-wrong.yaml").unlink()
        (settings / "conf.d/10-old.yaml").write_text("update_user_directory: false")
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert "10-old.yaml sets update_user_directory, which" in ended.stdout
        # A server that lives in SQLite must not wake up in an empty PostgreSQL.
        (settings / "homeserver.db").touch()
        (settings / "conf.d/10-old.yaml").write_text(f"database: {{name: sqlite3, args: {{database: {settings}/homeserver.db}}}}")
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        # Where the plan leaves the database to the operator, SQLite itself is refused.
        assert ended.returncode == 1
        assert "begin anew with an empty one" in ended.stdout
    assert judged == (1 if example == "one_host" else 2)


@pytest.mark.parametrize("site", ["true", "false"])
def test_nginx_accepts_the_site_and_the_snippets(site: str, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "nginx is not installed; dev/test installs it"
    folder = rendered("one_host", tmp_path / "out", "-e", f"synapse_nginx_site={site}")
    etc = folder / ONE_HOST[0] / "etc/nginx"
    logs = tmp_path / "log"
    logs.mkdir()
    for path in etc.rglob("*.conf"):
        text = path.read_text().replace("/etc/nginx/", f"{etc}/").replace("/var/log/nginx/", f"{logs}/")
        # Ports that need no right.
        path.write_text(re.sub(r"(listen (?:\[::\]:)?)(?:80|443)\b", r"\g<1>18080", text))
    own = "" if site == "true" else f"server {{ listen 18080; include {etc}/snippets/matrix-synapse.conf; }}"
    main = etc / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid; error_log {logs}/error.log;\n"
        "events {}\n"
        f"http {{ include {etc}/conf.d/*.conf; include {etc}/sites-enabled/*; {own} }}\n"
    )
    ended = subprocess.run([nginx, "-t", "-c", main, "-e", logs / "error.log"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (etc / "sites-enabled").exists() == (site == "true")


def test_units_are_locked_in_by_systemds_own_score(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is not installed; it comes with systemd"
    folder = rendered("four_hosts", tmp_path / "out", "-e", "synapse_firewall=true synapse_install_method=pip")
    units = sorted(folder.glob("*/etc/systemd/system/*.service"))
    assert {path.name for path in units} == {
        "matrix-synapse.service",
        "matrix-synapse-worker@.service",
        "matrix-synapse-hold.service",
        "matrix-synapse-firewall.service",
    }
    # What the sandbox is worth: the same without it.
    worker = next(path for path in units if path.name == "matrix-synapse-worker@.service").read_text()
    common = tmp_path / "common.service"
    common.write_text(
        "[Service]\n" + "".join(f"{line}\n" for line in worker.splitlines() if line.startswith(("User=", "ExecStart=")))
    )
    # The Debian package has a unit of its own for main, which is as open; it gets a drop-in.
    debian = rendered("four_hosts", tmp_path / "debian", "-e", "synapse_install_method=debian")
    (drop_in,) = debian.glob("*/etc/systemd/system/matrix-synapse.service.d/*.conf")
    package = drop_in.parent.with_suffix("")
    shutil.copy(common, package)
    scores = {}
    for unit in [common, *units, package]:
        command: list[str | Path] = [program, "security", "--offline=true", "--no-pager", unit]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"exposure level for \S+: ([0-9.]+)", ended.stdout)
        assert found, ended.stdout + ended.stderr
        scores[str(unit)] = float(found[1])
    assert scores.pop(str(common)) > 8
    assert [name for name, score in scores.items() if score > 2.0] == []


def test_rendering_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    first = texts(rendered("four_hosts", tmp_path / "first"))
    second = texts(rendered("four_hosts", tmp_path / "second"))
    assert first == second


def test_no_secret_is_in_a_rendered_file(tmp_path: Path) -> None:
    folder = rendered(
        "four_hosts", tmp_path / "out", "-e", "synapse_worker_replication_secret=hunter2 synapse_redis_password=hunter2"
    )
    assert [name for name, text in texts(folder).items() if "hunter2" in text] == []


def test_every_problem_comes_in_one_error_and_nothing_is_written(tmp_path: Path) -> None:
    inventory = yaml.safe_load((ROOT / "examples/one_host/inventory.yml").read_text())
    inventory["synapse"]["vars"]["synapse_workers"] = [{"type": "synchotron"}, {"type": "typing", "count": 2}]
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory))
    ended = render(path, tmp_path / "out")
    assert ended.returncode != 0
    assert "2 problems in the inventory; nothing was changed" in ended.stdout + ended.stderr
    assert "did you mean synchrotron?" in ended.stdout + ended.stderr
    assert "Synapse allows one typing worker" in ended.stdout + ended.stderr
    assert not (tmp_path / "out").exists()


def test_tasks_and_their_results_do_not_grow_with_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over workers costs three seconds of CPU for each; one call for all of them costs nothing (bench/rollout)."""
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(ROOT / "bench/rollout/callback_plugins"))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "account")
    accounts = {}
    for count in (1, 64):
        monkeypatch.setenv("ACCOUNT", str(tmp_path / f"{count}.account"))
        rows = [{"type": "synchrotron", "count": min(count, 50)}, {"type": "client_reader", "count": max(0, count - 50)}]
        plan = {"synapse_workers": rows, "synapse_postgresql_max_connections": 1000}
        rendered("one_host", tmp_path / str(count), "-e", json.dumps(plan))
        tasks = [json.loads(line) for line in (tmp_path / f"{count}.account").read_text().splitlines()]
        accounts[count] = [(task["name"], task["results"], task["skipped"]) for task in tasks]
        workers = tmp_path / str(count) / "matrix.example.org/etc/matrix-synapse/workers"
        assert len(list(workers.glob("*.log.yaml"))) == count
    assert accounts[1] == accounts[64]
    assert sum(results for _name, results, _skipped in accounts[1]) > 10
