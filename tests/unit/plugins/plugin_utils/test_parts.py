"""Which parts of a roll-out have nothing to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils import _parts
from ansible_collections.synapse.workers.plugins.plugin_utils._parts import part_wishes, settled_parts, unsettled_parts

from .plans import good_plan

PLACES: dict[str, Any] = {"redis": {"units": ["redis.service"]}, "nginx": {"paths": ["/etc/nginx/*"]}}
GIVEN: dict[str, Any] = {"redis": {"port": 1}, "nginx": ["a", None, 1.5]}


def seen_after(given: dict[str, Any]) -> dict[str, str]:
    return {name: part["wish"] for name, part in part_wishes(PLACES, given, list(PLACES)).items()}


def test_places_go_to_the_host_with_a_digest_only() -> None:
    wishes = part_wishes(PLACES, {"redis": "a password"}, ["redis"])
    assert wishes["redis"]["units"] == ["redis.service"]
    assert set(wishes["redis"]) == {"units", "wish"}
    assert "password" not in wishes["redis"]["wish"]


def test_the_same_is_settled_and_only_what_was_seen() -> None:
    seen = seen_after(GIVEN)
    assert settled_parts(GIVEN, seen) == ["redis", "nginx"]
    assert settled_parts(GIVEN, {"nginx": seen["nginx"]}) == ["nginx"]
    assert settled_parts(GIVEN, {}) == []


@pytest.mark.parametrize("other", [{"port": 2}, {"port": "1"}, {"port": 1, "more": None}, {}, None])
def test_something_else_that_is_given_unsettles(other: Any) -> None:
    assert settled_parts({**GIVEN, "redis": other}, seen_after(GIVEN)) == ["nginx"]


def test_something_else_that_all_are_given_unsettles_all() -> None:
    seen = {name: part["wish"] for name, part in part_wishes(PLACES, GIVEN, list(PLACES), {"version": "1"}).items()}
    assert settled_parts(GIVEN, seen, {"version": "1"}) == ["redis", "nginx"]
    assert settled_parts(GIVEN, seen, {"version": "2"}) == []


def test_other_code_unsettles(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_after(GIVEN)
    monkeypatch.setattr(_parts, "_code", lambda: "another release")
    assert settled_parts(GIVEN, seen) == []


def test_the_code_is_what_does_the_work() -> None:
    found = {str(path.relative_to(_parts.ROOT)) for pattern in _parts.CODE for path in _parts.ROOT.glob(pattern)}
    assert {"roles/redis/tasks/instance.yml", "roles/redis/templates/redis.conf.j2", "plugins/modules/files.py"} <= found
    assert not any(path.startswith(("tests", "docs", "roles/redis/README")) for path in found)


ALL = ["postgresql", "redis", "nginx", "ground", "host", "routes"]


def test_hosts_need_what_their_parts_are() -> None:
    plan = good_plan({"type": "synchrotron", "host": "app2"}, nginx_hosts=["app3"])
    nothing: dict[str, list[str]] = {"app1": [], "app2": [], "app3": []}
    assert unsettled_parts(plan, nothing) == {
        "app1": ["postgresql", "redis", "ground", "host", "routes"],
        "app2": ["ground", "host"],
        "app3": ["nginx"],
    }
    assert unsettled_parts(plan, {**nothing, "app1": ALL, "app2": ["ground"]}) == {"app2": ["host"], "app3": ["nginx"]}
    assert unsettled_parts(plan, {"app1": [name for name in ALL if name != "routes"]}, routes=False) == {}
