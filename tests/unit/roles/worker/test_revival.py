"""What systemd runs beside a run that has begun to stop processes: the real script, a real shell, and a systemctl that writes down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).parents[4]
TEMPLATE = ROOT / "roles/worker/templates/revival.sh.j2"
PATIENCE = 2
Watch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Starts the script for two processes of a host."""
    tool = tmp_path / "systemctl"
    tool.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    tool.chmod(0o755)
    (tmp_path / "closed").touch()
    (tmp_path / "alive").touch()
    started = []

    def start(starts: bool = True, stops: bool = True, alone: bool = True) -> subprocess.Popen[str]:
        # As Ansible's own environment has it.
        script = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True).from_string(TEMPLATE.read_text()).render(
            synapse_service="synapse",
            synapse_worker_unit="synapse-worker",
            __synapse_states=[{"unit": "synapse.service"}, {"unit": "synapse-worker@typing-1.service"}],
            __worker_alive=str(tmp_path / "alive"),
            __worker_closed=str(tmp_path / "closed"),
            __worker_is_alone=alone,
            __worker_patience=PATIENCE,
            __worker_revival_starts=starts,
            __worker_revival_stops=stops,
            __worker_revival_follows=stops,
        )
        assert ";" not in script
        assert "${" not in script
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        started.append(subprocess.Popen(["/bin/sh", "-c", script], env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def asked(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().splitlines() if path.exists() else []


START = "start synapse.service synapse-worker@typing-1.service"


@pytest.mark.parametrize(
    ("starts", "stops", "alone", "commands", "goes_on"),
    [
        # What has not stopped has to, before anything of the new plan starts.
        (True, True, True, ["daemon-reload", "stop synapse.service synapse-worker@*.service", START], True),
        # The run had stopped them itself.
        (True, False, True, ["daemon-reload", START], True),
        # Who holds the requests of several hosts, the others may not be ready for.
        (True, False, False, ["daemon-reload", START], False),
        # Nothing was to stop for good: only the requests that wait are let go.
        (False, False, True, [], True),
    ],
)
def test_a_run_without_a_sign_of_life_is_finished(
    starts: bool, stops: bool, alone: bool, commands: list[str], goes_on: bool, watch: Watch, tmp_path: Path
) -> None:
    said, _ = watch(starts, stops, alone).communicate(timeout=30)
    assert asked(tmp_path) == commands
    assert (tmp_path / "closed").exists() is not goes_on
    assert not (tmp_path / "alive").exists()
    assert "no life" in said


def test_a_run_that_is_through_is_left_alone(watch: Watch, tmp_path: Path) -> None:
    script = watch()
    (tmp_path / "alive").unlink()
    assert script.communicate(timeout=30)[0] == ""
    assert not asked(tmp_path)
    assert (tmp_path / "closed").exists()


def test_what_nginx_has_not_begun_is_not_finished(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "closed").unlink()
    watch().communicate(timeout=30)
    assert not asked(tmp_path)
    assert not (tmp_path / "alive").exists()


def test_a_run_that_shows_life_is_left_alone(watch: Watch, tmp_path: Path) -> None:
    script = watch()
    for _ in range(2 * PATIENCE):
        with pytest.raises(subprocess.TimeoutExpired):
            script.communicate(timeout=1)
        os.utime(tmp_path / "alive")
    assert not asked(tmp_path)
