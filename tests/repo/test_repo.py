"""The repository agrees with itself: tables, roles, specifications, documentation."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import TABLE as ENDPOINTS
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME, NAMED_ROW_OFFSET, TABLE

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
FILTERS = sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.py"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options") or {}


def test_what_follows_from_the_tables_is_up_to_date() -> None:
    ended = subprocess.run([sys.executable, ROOT / "tools/write_docs.py", "--check"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("role", [role for role in ROLES if (ROOT / "roles" / role / "defaults/main.yml").exists()])
def test_specifications_say_the_defaults(role: str) -> None:
    defaults = load(ROOT / "roles" / role / "defaults/main.yml")
    said = {name: option.get("default") for name, option in options(role).items()}
    required = {name for name, option in options(role).items() if option.get("required")}
    assert {name: value for name, value in said.items() if name not in required} == {
        name: value for name, value in defaults.items() if name not in required
    }


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_what_readers_and_galaxy_look_for(role: str) -> None:
    for name in ("README.md", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"):
        assert (ROOT / "roles" / role / name).exists(), name


@pytest.mark.parametrize("role", [role for role in ROLES if role != "synapse"])
def test_variables_belong_to_the_role_their_name_says(role: str) -> None:
    path = ROOT / "roles" / role / "defaults/main.yml"
    if path.exists():
        assert [name for name in load(path) if not name.startswith(f"{role}_")] == []


def test_every_worker_type_has_a_role() -> None:
    assert set(BY_NAME) <= set(ROLES)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_documented_under_its_name(name: str) -> None:
    documentation = load(ROOT / f"plugins/filter/{name}.yml")["DOCUMENTATION"]
    assert documentation["name"] == name


def test_only_the_ground_reads_the_list_of_workers() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.glob("roles/**/*.*"))
        if path.suffix in {".yml", ".j2"} and "meta" not in path.parts and "defaults" not in path.parts
        if re.search(r"\bsynapse_workers\b", re.sub(r"#.*", "", path.read_text(encoding="utf-8")))
    ]
    assert readers == ["roles/synapse/tasks/derive.yml"]


def test_no_two_types_share_a_port() -> None:
    first = sorted(row.first_port for row in TABLE)
    assert all(later - earlier >= 2 * NAMED_ROW_OFFSET for earlier, later in itertools.pairwise(first))


def test_endpoints_name_types_that_take_requests() -> None:
    named = {name for row in ENDPOINTS for name in row.types}
    assert named == {row.name for row in TABLE if row.takes_requests}


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/**/*.svg")), ids=lambda path: path.name)
def test_a_picture_is_one_that_browsers_show(picture: Path) -> None:
    assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
