"""The releases of Synapse that judge, each in a virtual environment below ``.cache`` that is made when it is missing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def releases() -> dict[str, list[str]]:
    """{release: what else to install}, newest first; ``SYNAPSE_RELEASES`` (``1.163.2,1.150.0``) names others."""
    lines = [line.split() for line in (HERE / "releases.txt").read_text().splitlines() if line and line[0] != "#"]
    known = {release: requirements for release, *requirements in lines}
    wanted = os.environ.get("SYNAPSE_RELEASES")
    if not wanted:
        return known
    oldest = lines[-1][1:]
    return {release: known.get(release, oldest) for release in wanted.split(",")}


def python_of(release: str, requirements: list[str]) -> Path:
    """The Python of a virtual environment with the release, which is kept in ``.cache``."""
    folder = ROOT / ".cache" / "synapse" / release
    python = folder / "venv" / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing Synapse {release} to ask it", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], check=True)
        wanted = [f"matrix-synapse[redis]=={release}", *requirements]
        quiet = ["-q", "--no-compile", "--disable-pip-version-check"]
        subprocess.run([str(python), "-m", "pip", "install", *quiet, *wanted], check=True)
        (folder / "installed").touch()
    return python


def registered(release: str, requirements: list[str]) -> dict[str, Any]:
    """What ``registered.py`` says inside a virtual environment with the release; both are kept in ``.cache``."""
    folder = ROOT / ".cache" / "synapse" / release
    script = HERE / "registered.py"
    answer = folder / f"registered-{hashlib.sha256(script.read_bytes()).hexdigest()[:12]}.json"
    if not answer.exists():
        python = python_of(release, requirements)
        done = subprocess.run([str(python), "-W", "ignore", str(script)], check=True, capture_output=True, text=True)
        answer.write_text(done.stdout)
    value: dict[str, Any] = json.loads(answer.read_text())
    return value
