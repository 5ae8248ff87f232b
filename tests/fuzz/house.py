"""What a roll-out would write for an inventory, worked out in this process: the real defaults, specifications, expressions and
templates of the roles, with Ansible's own filters, but without its machinery, which takes a second for each.

``tests/render`` and molecule see to it that Ansible itself comes to the same.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import functools
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.filters
import jinja2.nativetypes
import jinja2.tests
import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.filter.core import FilterModule as CoreFilters
from ansible.plugins.filter.mathstuff import FilterModule as MathFilters
from ansible.plugins.filter.urlsplit import FilterModule as UrlFilters
from ansible.plugins.test.core import TestModule as CoreTests
from ansible_collections.synapse.workers.plugins.plugin_utils._change_plan import change_plan
from ansible_collections.synapse.workers.plugins.plugin_utils._change_steps import change_steps
from ansible_collections.synapse.workers.plugins.plugin_utils._change_words import plan_report
from jinja2.runtime import Context

from . import inventories
from .inventories import Inventory

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
# Roles whose files every roll-out writes, in the order of roll_out.yml, and the variable that has the files.
PARTS = {"processes": ("synapse", "__synapse_files"), "postgresql": ("postgresql", "__postgresql_files"),
         "redis": ("redis", "__redis_files"), "nginx": ("nginx", "__nginx_files")}  # fmt: skip


class Refused(Exception):
    """The inventory is refused before anything is written; str() is what the operator reads."""


@cache
def _role(role: str, what: str) -> dict[str, Any]:
    path = ROLES / role / what / "main.yml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


@cache
def _specification(role: str) -> ArgumentSpecValidator:
    text = (ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    return ArgumentSpecValidator(yaml.safe_load(text)["argument_specs"]["main"].get("options") or {})


inventories.VARIABLES = tuple(name for role in ("synapse", "nginx", "redis", "postgresql") for name in _role(role, "defaults"))


class _Lazy(Context):
    """Variables may be expressions on other variables; each is worked out when it is asked for, as Ansible does."""

    def resolve_or_missing(self, key: str) -> Any:
        known = self.parent.get("__known")
        if known is None:
            return super().resolve_or_missing(key)
        if key in self.vars:
            return self.vars[key]
        if key in known:
            return known[key]
        value = super().resolve_or_missing(key)
        if isinstance(value, (str, dict, list)) and key in self.parent["__variables"]:
            value = known[key] = self.parent["__house"].worked_out(value)
        return value


def _joined(values: Any) -> Any:
    """The value itself where an expression is all there is, else text."""
    parts = list(values)
    return parts[0] if len(parts) == 1 else "".join("" if part is None else str(part) for part in parts)


class _Expressions(jinja2.nativetypes.NativeEnvironment):
    context_class = _Lazy
    concat = staticmethod(_joined)


class _ExpressionTemplate(jinja2.nativetypes.NativeTemplate):
    environment_class = _Expressions


_Expressions.template_class = _ExpressionTemplate


class _Templates(jinja2.Environment):
    context_class = _Lazy


def _filters() -> dict[str, Any]:
    # Ansible wraps some of Jinja's own, for values that its machinery makes.
    filters = {**CoreFilters().filters(), **MathFilters().filters(), **UrlFilters().filters(), **jinja2.filters.FILTERS}
    for path in (ROOT / "plugins/filter").glob("*.py"):
        module = importlib.import_module(f"ansible_collections.synapse.workers.plugins.filter.{path.stem}")
        filters[f"synapse.workers.{path.stem}"] = module.FilterModule().filters()[path.stem]
    for name in ("map", "select", "selectattr", "reject", "rejectattr"):
        filters[name] = _listing(filters[name])
    return filters


def _listing(function: Any) -> Any:
    """A filter of Jinja's that yields, as one that returns a list, as Ansible has it."""

    @functools.wraps(function)
    def listed(*args: Any, **words: Any) -> list[Any]:
        return list(function(*args, **words))

    return listed


@cache
def _environments() -> tuple[_Expressions, _Templates]:
    expressions = _Expressions(undefined=jinja2.StrictUndefined)
    templates = _Templates(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    for environment in (expressions, templates):
        environment.filters.update(_filters())
        environment.tests.update({**CoreTests().tests(), **jinja2.tests.TESTS})
    return expressions, templates


@cache
def _expression(text: str) -> jinja2.Template:
    # In YAML a backslash is one for Ansible, in Jinja's texts it takes two.
    return _environments()[0].from_string(text.replace("\\", "\\\\"))


@cache
def _template(path: Path) -> jinja2.Template:
    environment = _environments()[1]
    # `include` finds the templates beside it.
    return environment.overlay(loader=jinja2.FileSystemLoader(path.parent)).from_string(path.read_text(encoding="utf-8"))


class House:
    """One role's view of one host."""

    def __init__(self, made: Inventory, host: str, role: str, topology: dict[str, Any] | None = None) -> None:
        self.role = role
        hostvars = {name: {**made.variables, **values} for name, values in made.hosts.items()}
        self.variables: dict[str, Any] = {
            **_role("synapse", "defaults"),
            **_role(role, "defaults"),
            **hostvars[host],
            **_role("synapse", "vars"),
            **_role(role, "vars"),
        }
        fixed = {
            "inventory_hostname": host, "hostvars": hostvars, "groups": made.groups, "ansible_play_hosts_all": list(made.hosts),
            "ansible_play_hosts": list(made.hosts), "role_path": str(ROLES / role), "__synapse_offline": True,
        }  # fmt: skip
        if topology is not None:
            fixed["synapse_topology"] = topology
        self.context = {
            **self.variables, **fixed, "lookup": self._lookup, "query": self._query,
            "__variables": self.variables, "__known": {}, "__house": self,
        }  # fmt: skip

    def worked_out(self, value: Any) -> Any:
        """A value with all expressions in it worked out."""
        if isinstance(value, str):
            return _expression(value).render(self.context) if "{{" in value or "{%" in value else value
        if isinstance(value, dict):
            return {key: self.worked_out(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.worked_out(item) for item in value]
        return value

    def __getitem__(self, name: str) -> Any:
        return self.worked_out("{{ " + name + " }}")

    def _lookup(self, kind: str, *names: str) -> Any:
        return "".join(str(one) for one in self._query(kind, *names))

    def _query(self, kind: str, *names: str) -> list[str]:
        if kind == "ansible.builtin.file":
            return [Path(name).read_text(encoding="utf-8").rstrip() for name in names]
        if kind != "ansible.builtin.template":
            raise NotImplementedError(kind)
        return [_template(ROLES / self.role / "templates" / name).render(self.context) for name in names]


def check_specification(made: Inventory, host: str, role: str) -> None:
    """What Ansible does before the first task of a role. Raises Refused."""
    house = House(made, host, role)
    try:
        values = {name: house[name] for name in _role(role, "defaults")}
    except (AnsibleError, jinja2.UndefinedError, ValueError, TypeError) as error:
        # An expression of the defaults over a value of another kind than its own; Ansible says so in the same place.
        raise Refused(f"{role}: {error}") from error
    try:
        wrong = _specification(role).validate(values).error_messages
    except OverflowError as error:
        # Ansible itself says so of `.inf` where a number belongs: "Task failed: cannot convert Infinity to integer".
        raise Refused(f"{role}: {error}") from error
    if wrong:
        raise Refused("; ".join(wrong))


def files_of(made: Inventory) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The topology, and for each host path → text of every file. Raises Refused."""
    first = next(iter(made.hosts))
    for host in made.hosts:
        check_specification(made, host, "synapse")
    house = House(made, first, "synapse")
    plan = house.worked_out("{{ synapse_workers | synapse.workers.topology(__synapse_plan_settings) }}")
    if plan["problems"]:
        raise Refused("; ".join(plan["problems"]))
    for host in made.hosts:
        _plan_of_changes(made, host, plan)
    files: dict[str, dict[str, str]] = {}
    for host in made.hosts:
        files[host] = {}
        for part, (role, variable) in PARTS.items():
            if part in plan["hosts"][host]["parts"]:
                if role != "synapse":
                    check_specification(made, host, role)
                files[host].update({one["path"]: one["content"] for one in House(made, host, role, plan)[variable]})
        firewall = House(made, host, "firewall", plan)
        if plan["hosts"][host]["parts"] and firewall["__firewall_wanted"]:
            files[host].update({one["path"]: one["content"] for one in firewall["__firewall_files"]})
    return plan, files


def _plan_of_changes(made: Inventory, host: str, plan: dict[str, Any]) -> None:
    """What the operator is told first, of hosts that have nothing yet."""
    seen: dict[str, Any] = {"units": {}, "remembered": {}, "release": "1.163.2", "stamp": "", "written": {}}
    seen["written"] = {f"/{name}.json": {"files": {}, "applied": True, "note": ""} for name in ("processes", "nginx")}
    changes = {host: change_plan(plan, host, {"main": "", "worker": ""}, seen, "", {} if host in plan["nginx_hosts"] else None)}
    plan_report(plan, changes)
    change_steps(plan, changes)
