"""What the module ``installation_info`` would tell of a server whose files lie in a folder, as if it were that host's root."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.synapse.workers.plugins.module_utils._installation import what_it_starts
from ansible_collections.synapse.workers.plugins.module_utils._nginx_config import summary

POSTGRESQL = {
    "kind": "postgresql", "error": "", "encoding": "UTF8", "collation": "C", "ctype": "C", "bytes": 10_000_000, "version": "15.1",
    "max_connections": 100, "connections": 5,
}  # fmt: skip


def unit(path: Path, name: str = "", active: str = "active", enabled: str = "enabled") -> dict[str, Any]:
    """A unit out of its file; ``name`` is the instance of a template."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    name = name or path.name
    instance = name.partition("@")[2].rpartition(".")[0]
    service = parser["Service"]
    return {
        "unit": name,
        "file": str(path),
        "ours": False,
        "user": service.get("User", "root"),
        "group": service.get("Group", ""),
        "working_directory": service.get("WorkingDirectory", ""),
        "active": active,
        "enabled": enabled,
        "binds_to": parser["Unit"].get("BindsTo", "").split(),
        "wanted_by": [],
        "type": service.get("Type", "simple"),
        **what_it_starts(service["ExecStart"].replace("%i", instance)),
    }


def told(root: Path, paths: list[str]) -> dict[str, Any]:
    """Settings as the reader tells them, but for secrets, which nothing here looks at."""
    found = {}
    for name in paths:
        path = root / name.lstrip("/")
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            content = yaml.safe_load(file.read_text())
            found[f"/{file.relative_to(root)}"] = {"error": "", "keys": content, "others": [], "ours": False}
    return found


def found(root: Path, units: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """All of it."""
    (main,) = [one for one in units if one["app"] == "homeserver"]
    sites = "".join(f"# configuration file /etc/nginx/sites-enabled/{path.name}:\n{path.read_text()}"
                    for path in sorted((root / "etc/nginx/sites-available").iterdir()))  # fmt: skip
    http = "# configuration file /etc/nginx/nginx.conf:\nhttp { include conf.d/*.conf; include sites-enabled/*; }\n"
    return {
        "units": units,
        "main": main["unit"],
        "python": main["python"],
        "release": "1.163.2",
        "package": "",
        "settings": told(root, main["configs"]),
        "worker_settings": {
            one["unit"]: told(root, [path for path in one["configs"] if path not in main["configs"]])
            for one in units
            if one["app"] != "homeserver"
        },
        "refusals": {},
        "conf_d": [],
        "database": POSTGRESQL,
        "nginx": {**summary(http + sites), "installed": True, "error": ""},
        "listening": [],
        "error": "",
        **changes,
    }
