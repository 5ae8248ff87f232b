#!/usr/bin/env python3
"""Writes what follows from the tables and specifications: the thin role of each worker type, and the reference pages.

Usage: tools/write_docs.py [--check]. With --check nothing is written; ends with 1 when a file would differ.
Needs PyYAML, which ansible-core brings.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from dashboard import dashboard

ROOT = Path(__file__).resolve().parent.parent
MADE = "Made by tools/write_docs.py"

RESTARTS = {
    "nginx": "nothing; nginx is reloaded",
    "main": "main and the workers of this type",
    "together": "main and the workers of this type, which all stop before one starts",
    "all": "all processes, as they must agree on who writes the stream",
}
KEEPS = {
    "user": "one user's requests",
    "room": "one room's requests",
    "origin": "one server's transactions",
}


def load(name: str) -> ModuleType:
    """A module of ``plugins/``, out of those that need nothing of Ansible."""
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module(f"plugins.{name}")
    finally:
        sys.path.remove(str(ROOT))


def thin_role(row: Any) -> Iterator[tuple[str, str]]:
    """The files of the role of one worker type."""
    base = f"roles/{row.name}"
    yield (
        f"{base}/tasks/main.yml",
        (
            f"---\n# {MADE} from plugins/module_utils/_worker_types.py.\n"
            f"- name: Bring up the {row.name} workers of this host\n"
            "  ansible.builtin.include_role:\n"
            "    name: synapse.workers.worker\n"
            "  vars:\n"
            f"    __worker_types: [{row.name}]\n"
        ),
    )
    yield (
        f"{base}/meta/main.yml",
        (
            f"---\n# {MADE} from plugins/module_utils/_worker_types.py.\n"
            "galaxy_info:\n"
            "  author: synapse.workers contributors\n"
            f"  description: {quoted(row.purpose)}\n"
            "  license: GPL-3.0-or-later\n"
            "  min_ansible_version: '2.19'\n"
            "  platforms:\n"
            "    - name: Debian\n"
            "      versions: [bookworm, trixie]\n"
            "dependencies:\n"
            "  - role: synapse.workers.synapse\n"
        ),
    )
    yield (
        f"{base}/meta/argument_specs.yml",
        (
            f"---\n# {MADE} from plugins/module_utils/_worker_types.py.\n"
            "argument_specs:\n"
            "  main:\n"
            f"    short_description: {quoted(f'Workers of type {row.name}: {row.purpose}')}\n"
            "    description:\n"
            f"      - Brings up the {row.name} workers that C(synapse_workers) plans on the host, and leaves others as they are.\n"
            "      - nginx learns of them by the role C(synapse.workers.nginx); the playbook C(synapse.workers.roll_out) does both in order.\n"
            f"      - A change of their number restarts {RESTARTS[row.restart]}.\n"
            "      - All variables are those of the role C(synapse.workers.synapse).\n"
            "    author:\n"
            "      - synapse.workers contributors\n"
            "    version_added: 0.1.0\n"
            "    options: {}\n"
        ),
    )
    facts = [
        ("Leaves the main process", row.purpose),
        ("How many", "several" if row.several else "one"),
        ("First port", str(row.first_port)),
        ("nginx keeps together", KEEPS.get(row.balance, "nothing, the least busy worker answers"))
        if row.takes_requests
        else ("Requests", "none; it works on its own"),
        ("When none answers", "the main process does" if row.fallback_to_main else "requests wait at nginx until one is back")
        if row.takes_requests
        else ("Named by", f"`{row.setting or 'stream_writers'}`"),
        ("Writes the streams", ", ".join(f"`{name}`" for name in row.streams) or "none"),
        ("A change of their number restarts", RESTARTS[row.restart]),
    ]
    yield (
        f"{base}/README.md",
        (
            f"<!-- {MADE} from plugins/module_utils/_worker_types.py. -->\n"
            f"# {row.name}\n\n"
            + "\n".join(textwrap.wrap(f"Brings up the workers of type `{row.name}` that `synapse_workers` plans on a host.", 120))
            + "\n\n"
            + table(["", ""], facts)
            + "\n```yaml\n"
            + f"synapse_workers:\n  - {{type: {row.name}{', count: 2' if row.several else ''}}}\n"
            + "```\n"
        ),
    )


def worker_types(rows: Any) -> str:
    """The page docs/worker_types.md."""
    lines = [
        [
            f"`{row.name}`",
            row.purpose,
            "several" if row.several else "one",
            str(row.first_port),
            {"user": "user", "room": "room", "origin": "origin server"}.get(row.balance, "least busy")
            if row.takes_requests
            else "no requests",
            "yes" if row.fallback_to_main else "no",
            RESTARTS[row.restart],
        ]
        for row in rows
    ]
    head = [
        "type",
        "what leaves main",
        "how many",
        "first port",
        "balanced by",
        "main stands in",
        "a changed number restarts",
    ]
    return (
        f"<!-- {MADE} from plugins/module_utils/_worker_types.py. -->\n"
        "# Worker types\n\n"
        "Each is a value of `type` (or of `types`) in a row of `synapse_workers`. Worker number *n* of a type listens on its first\n"
        "port + *n* − 1 for requests, 5000 above for replication where it writes a stream, and 10000 above for metrics. A row with a\n"
        "`name` starts 50 above the first port of its first type.\n\n" + table(head, lines)
    )


TITLES = {
    "rooms": "Clients, in one room",
    "media": "Media",
    "client": "Clients",
    "federation": "Other servers",
    "key": "Keys of servers",
    "pages": "Pages for people",
    "well_known": "Discovery",
    "other": "Others",
    "admin": "Administration",
}


def endpoints(module: ModuleType, types: Any) -> str:
    """The page docs/endpoints.md."""
    known = {row.name: row for row in types}
    page = [
        f"<!-- {MADE} from plugins/module_utils/_endpoints.py. -->\n",
        "# Endpoints\n\n",
        "Which worker type serves a request, by its method and its path as the client sent it. `{name}` is one whole segment,\n",
        "`{rest}` all that follows, `( | )` a choice; ",
        ", ".join(f"`{{{name}}}` is `{versions}`" for name, versions in module.VERSIONS.items()) + ".\n\n",
        "*Worker type*: the first one that is planned takes the request; when none is, the type in `synapse_default_type`, if it can,\n",
        "and else the main process. *None answers*: what happens while no worker of the pool answers. Within a table the first row\n",
        "that matches counts, and what no row names goes to the main process. Another path gets 404 from nginx.\n\n",
        "To ask for one request under your plan:\n\n",
        "```console\n$ ansible-playbook -i inventory.yml synapse.workers.explain_route -e method=GET -e url='/_matrix/client/v3/sync'\n```\n",
    ]
    for area in module.AREAS:
        lines = []
        for row in module.TABLE:
            if row.area != area.name:
                continue
            first = known.get(row.types[0]) if row.types else None
            path = f"`{row.path}`" + (f" with {module.QUERIES[row.query].meaning}" if row.query else "")
            if row.path == "/{rest}":
                path = "any"
            lines.append(
                [
                    ", ".join(row.methods),
                    path,
                    ", ".join(f"`{name}`" for name in row.types) + (" only" if row.only else "") if first else "main",
                    ("main stands in" if first.fallback_to_main else "waits") if first else "",
                    version_of(row.since),
                    version_of(row.until),
                    row.note,
                ]
            )
        page.append(f"\n## {TITLES[area.name]}\n\n")
        page.append(table(["method", "path", "worker type", "none answers", "since", "until", ""], lines))
    return "".join(page)


def version_of(version: tuple[int, int] | None) -> str:
    return ".".join(map(str, version)) if version else ""


def variables(spec: dict[str, Any]) -> str:
    """The page docs/variables.md."""
    rows = []
    for name, option in spec["options"].items():
        description = option["description"]
        words = " ".join(description) if isinstance(description, list) else description
        default = "required" if option.get("required") else f"`{yaml_word(option.get('default'))}`"
        if option.get("choices"):
            words += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        rows.append([f"`{name}`", option["type"], default, plain_markup(words)])
    return (
        f"<!-- {MADE} from roles/synapse/meta/argument_specs.yml. -->\n"
        "# Variables\n\nAll of them are inventory variables of the hosts of one homeserver. Only `synapse_server_name` must be given.\n\n"
        + table(["variable", "type", "default", "meaning"], rows)
    )


def figures() -> str:
    """The goals of all benches, and what was measured."""
    parts = []
    for page in sorted((ROOT / "bench").glob("*/results.md")):
        text = page.read_text(encoding="utf-8")
        title = (page.parent / "README.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        machine, goals = text.split("\n\n## Goals\n\n")
        goals = goals.split("\n\n", maxsplit=1)[0]
        machine = machine.rsplit("\n\n", maxsplit=1)[-1]
        parts.append(f"## {title}\n\n{goals}\n\n{machine} [How, and all figures](../bench/{page.parent.name}/README.md).\n")
    return (
        f"<!-- {MADE} from the results of bench/. -->\n"
        "# What was measured\n\nEach beside its rivals in the same run, as a ratio where it depends on the machine. A goal that is missed stays here "
        "with what was measured. `dev/bench` measures all of it again.\n\n" + "\n".join(parts)
    )


def table(head: list[str], rows: Any) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def plain_markup(words: str) -> str:
    """Ansible's markup as Markdown."""
    for letter in "COVPM":
        while f"{letter}(" in words:
            start = words.index(f"{letter}(")
            end = words.index(")", start)
            inner = words[start + 2 : end].split("#", maxsplit=1)[0]
            words = words[:start] + f"`{inner}`" + words[end + 1 :]
    return words


def yaml_word(value: Any) -> str:
    if isinstance(value, str):
        return value or "''"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...").strip()


def quoted(words: str) -> str:
    return '"' + words.replace('"', '\\"') + '"'


def everything() -> Iterator[tuple[str, str]]:
    """(path in the repository, text) of every file that is made."""
    rows = load("module_utils._worker_types").TABLE
    for row in rows:
        yield from thin_role(row)
    yield "docs/worker_types.md", worker_types(rows)
    yield "roles/prometheus/files/grafana-dashboard.json", dashboard(load("plugin_utils._status").NEAR_THE_LIMIT)
    yield "docs/endpoints.md", endpoints(load("module_utils._endpoints"), rows)
    spec = yaml.safe_load((ROOT / "roles/synapse/meta/argument_specs.yml").read_text(encoding="utf-8"))
    yield "docs/figures.md", figures()
    yield "docs/variables.md", variables(spec["argument_specs"]["main"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 when a file would differ")
    check = parser.parse_args().check
    stale = []
    for name, text in everything():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(("differs from its table: " if check else "written: ") + name)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
