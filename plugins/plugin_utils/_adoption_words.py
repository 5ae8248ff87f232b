"""What is obsolete in the settings of a Synapse that is there, what would break, and the report and inventory as text.

Sources: the upgrade notes and change log of Synapse (releases as given), and ``synapse/config/workers.py`` and ``server.py`` of 1.163.2.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

import yaml

# Synapse's apps of before `generic_worker`, each of which is a worker type of that name.
OLD_APPS = (
    "appservice",
    "client_reader",
    "event_creator",
    "federation_reader",
    "federation_sender",
    "frontend_proxy",
    "media_repository",
    "pusher",
    "synchrotron",
    "user_dir",
)


class Obsolete(NamedTuple):
    """A setting that has had its time."""

    key: str
    since: str
    """What Synapse says to it, since which release."""
    instead: str
    """What has taken its place, and where a roll-out writes that."""


IN_WORKERS = (
    Obsolete("worker_replication_port", "deprecated in 1.18, refused since 1.67", "Redis (`redis`)"),
    Obsolete("worker_replication_host", "deprecated in 1.84, refused since 1.88", "`instance_map`, its entry `main`"),
    Obsolete("worker_replication_http_port", "deprecated in 1.84, refused since 1.88", "`instance_map`, its entry `main`"),
    Obsolete("worker_replication_http_tls", "deprecated in 1.84, refused since 1.88", "`instance_map`, its entry `main`"),
    Obsolete("worker_main_http_uri", "without effect since 1.73", "nothing; the worker answers /keys/upload itself"),
    Obsolete("send_federation", "without effect in a worker", "`federation_sender_instances` in the shared settings"),
    Obsolete("start_pushers", "without effect in a worker", "`pusher_instances` in the shared settings"),
    Obsolete("notify_appservices", "deprecated in 1.59", "`notify_appservices_from_worker` in the shared settings"),
    Obsolete("update_user_directory", "deprecated in 1.59", "`update_user_directory_from_worker` in the shared settings"),
)
IN_MAIN = (
    Obsolete("send_federation", "the old way", "`federation_sender_instances`, which a row `federation_sender` writes"),
    Obsolete("start_pushers", "the old way", "`pusher_instances`, which a row `pusher` writes"),
    Obsolete("notify_appservices", "deprecated in 1.59", "`notify_appservices_from_worker`, which a row `appservice` writes"),
    Obsolete("update_user_directory", "deprecated in 1.59", "`update_user_directory_from_worker`, which a row `user_dir` writes"),
)
APPS_SINCE = {"appservice": "deprecated in 1.59", "user_dir": "deprecated in 1.59"}
# Booleans that cannot stand beside their successor, so the line itself has to go.
MUST_GO = ("notify_appservices", "update_user_directory")


def findings(
    found: dict[str, Any], settings: dict[str, Any], own: dict[str, dict[str, Any]]
) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """(problems, notes, obsolete settings) of the files of the main process and of its workers.

    Args:
        found: what the module ``installation_info`` returned.
        settings: what the main process makes of its files.
        own: {unit: what stands in the files of a worker alone}.
    """
    problems, notes, obsolete = [], [], []

    def gone(where: str, what: str, since: str, instead: str) -> None:
        obsolete.append({"where": where, "what": what, "since": since, "instead": instead})

    for path, told in found["settings"].items():
        if told["error"]:
            problems.append(f"{path}: {told['error']}")
        for row in IN_MAIN:
            if row.key in told["keys"] and not told.get("ours"):
                gone(path, f"{row.key}: {str(told['keys'][row.key]).lower()}", row.since, row.instead)
                if row.key in MUST_GO:
                    problems.append(
                        f"{path}: remove the line `{row.key}`; Synapse refuses it beside its successor, and alone it leaves the duty to nobody"
                    )
        for listener in told["keys"].get("listeners") or []:
            if isinstance(listener, dict) and listener.get("type") == "replication":
                gone(path, f"the listener on port {listener.get('port')} of type replication", "deprecated in 1.18, refused since 1.67",
                     "Redis, and an http listener with the resource replication")  # fmt: skip
    for unit, files in found["worker_settings"].items():
        for path, told in files.items():
            if told["error"]:
                notes.append(f"{path}: {told['error']}")
            for row in IN_WORKERS:
                if row.key in told["keys"]:
                    gone(path, row.key, row.since, row.instead)
            app = str(told["keys"].get("worker_app", "")).rpartition(".")[2]
            if app in OLD_APPS:
                gone(
                    path,
                    f"worker_app: synapse.app.{app}",
                    APPS_SINCE.get(app, "an alias since 1.12"),
                    "`synapse.app.generic_worker`",
                )
        if own.get(unit) and "worker_name" not in own[unit]:
            gone(
                ", ".join(files),
                "no worker_name",
                "the app's name stands in, so two of one app share it",
                "a name for every worker",
            )
    refusals: dict[str, list[str]] = {}
    for unit, words in found["refusals"].items():
        if words:
            # Nearly always it is a setting that all of them read.
            refusals.setdefault(words, []).append(unit)
    for words, units in refusals.items():
        notes.append(f"{', '.join(units)}: Synapse {found['release']} does not start with these settings: {words}")
    _database(found["database"], problems, notes)
    return problems, notes, obsolete


def _database(database: dict[str, Any], problems: list[str], notes: list[str]) -> None:
    if database["kind"] == "sqlite":
        problems.append(
            f"the database is SQLite ({database.get('path')}), which processes cannot share: "
            f"synapse.workers.migrate_database copies it to PostgreSQL and keeps the old file (docs/adopt.md)"
        )
    elif database["error"] and database["kind"]:
        notes.append(f"the database could not be asked: {database['error']}")
    elif database["kind"] and (database["collation"], database["ctype"]) != ("C", "C"):
        problems.append(
            f"the database has the collation {database['collation']} ({database['ctype']}), with which its indexes break when the system is "
            f"upgraded; Synapse wants C. Dump it and load it into one made with LC_COLLATE and LC_CTYPE C (docs/adopt.md)"
        )
    elif database["kind"] and database["encoding"] != "UTF8":
        problems.append(f"the database has the encoding {database['encoding']}; Synapse wants UTF8")


def report_text(adoption: dict[str, Any], found: dict[str, Any], host: str) -> str:
    """The report, to be read as it is or as Markdown."""
    parts = [
        f"# Synapse on {host}\n\nFound by synapse.workers.adopt. Nothing on the host was changed.",
        _section("Before a roll-out", adoption["problems"], "Nothing has to be settled."),
        _table("Understood", ["what", "as"], adoption["understood"]),
        _table("Obsolete", ["what", "since", "instead", "where"], _gathered(adoption["obsolete"])),
        _section("What a roll-out would do", adoption["changes"], "Nothing, as long as the above is not settled."),
        _section("Worth knowing", adoption["notes"], "Nothing."),
    ]
    if not adoption["workers"] and adoption["variables"]:
        parts.append(
            "## Which workers\n\nNone yet. `ansible-playbook synapse.workers.analyse_access_log` recommends some by the access log that nginx\n"
            "has; write them into `synapse_workers`."
        )
    return "\n\n".join(parts) + "\n"


def _gathered(obsolete: list[dict[str, str]]) -> list[dict[str, str]]:
    """One row for each setting, with all the files that have it."""
    files: dict[tuple[str, str, str], list[str]] = {}
    for row in obsolete:
        files.setdefault((row["what"], row["since"], row["instead"]), []).append(row["where"])
    return [
        {
            "what": what,
            "since": since,
            "instead": instead,
            "where": ", ".join(where) if len(where) < 3 else f"{where[0]} and {len(where) - 1} more",
        }
        for (what, since, instead), where in files.items()
    ]


def _section(title: str, sentences: list[str], otherwise: str) -> str:
    def folded(line: str) -> str:
        if line.startswith("      "):
            return line
        return textwrap.fill(line.strip(), 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)

    lines = [folded(line) for sentence in sentences for line in f"- {sentence}".split("\n")]
    return f"## {title}\n\n" + ("\n".join(lines) or otherwise)


def _table(title: str, columns: list[str], rows: list[dict[str, str]]) -> str:
    if not rows:
        return f"## {title}\n\nNothing."
    lines = [[str(row[column]).replace("|", "\\|") for column in columns] for row in rows]
    widths = [max(len(line[number]) for line in [columns, *lines]) for number in range(len(columns))]
    widths[-1] = len(columns[-1])

    def row_of(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join(
        [
            f"## {title}",
            "",
            row_of(columns),
            "| " + " | ".join("-" * max(width, 3) for width in widths) + " |",
            *map(row_of, lines),
        ]
    )


# What the variables of the inventory are about, in the order in which they are written.
GROUPS = (
    ("What the homeserver is. Your homeserver.yaml stays yours: it is read, and never written.", (
        "synapse_server_name", "synapse_server_hostname", "synapse_public_baseurl", "synapse_base_settings_managed")),
    ("Where things are, and as whom they run.", (
        "synapse_service", "synapse_main_unit_managed", "synapse_worker_unit", "synapse_target", "synapse_install_method", "synapse_version",
        "synapse_venv", "synapse_user", "synapse_config_dir", "synapse_data_dir", "synapse_writable_paths")),
    ("What the main process listens on: yours as they are, and what is missing there.", (
        "synapse_main_listeners", "synapse_main_port", "synapse_main_replication_port", "synapse_main_metrics_port")),
    ("Your PostgreSQL and Redis; '' means that homeserver.yaml says where.", ("synapse_postgresql_host", "synapse_redis_host")),
    ("Your vhost stays yours; it gets one line, see report.md.", (
        "synapse_nginx_site", "synapse_nginx_well_known", "nginx_pcre_jit", "synapse_nginx_status_port")),
    ("Workers of before. They go on until nginx sends them nothing any more, then they are stopped and disabled.", (
        "synapse_replaced_units",)),
)  # fmt: skip


def inventory_text(adoption: dict[str, Any], host: str, connection: dict[str, Any]) -> str:
    """The inventory of one host, as one keeps it by hand.

    Args:
        adoption: what ``adoption`` returned.
        host: inventory name.
        connection: variables of Ansible that say how the host is reached.
    """
    variables = adoption["variables"]
    body = [
        "# Made by synapse.workers.adopt; from here on it is yours.",
        "#   ansible-playbook -i inventory.yml synapse.workers.roll_out --check --diff",
    ]
    body += ["synapse:", "  hosts:"]
    body += _indented({host: connection} if connection else f"{host}:", 4)
    body += ["  vars:"]
    for comment, names in GROUPS:
        chosen = {name: variables[name] for name in names if name in variables}
        if chosen:
            body += [f"    # {comment}", *_indented(chosen, 4), ""]
    known = {name for _comment, names in GROUPS for name in names}
    rest = {name: value for name, value in variables.items() if name not in known}
    if rest:
        body += [*_indented(rest, 4), ""]
    body.append("    # The whole truth about workers; docs/worker_types.md has the types.")
    body += ["    synapse_workers:" + ("" if adoption["workers"] else " []")]
    body += [
        f"      - {yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=1000).strip()}"
        for row in adoption["workers"]
    ]
    return "---\n" + "\n".join(body) + "\n"


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _indented(data: Any, by: int) -> list[str]:
    if isinstance(data, str):
        return [" " * by + data]
    lines: list[str] = []
    for key, value in data.items():
        # Each key on a line of its own, lists in blocks; what is short inside them on one line.
        style = None if isinstance(value, list) else False
        text = yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, default_flow_style=style, width=110)
        lines += [" " * by + line for line in text.rstrip().split("\n")]
    return lines
