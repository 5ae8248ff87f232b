"""Who may reach what listens on a private address."""

from __future__ import annotations

from ansible_collections.synapse.workers.plugins.plugin_utils._firewall import firewall_rules

from .plans import HOSTS, good_plan


def test_private_ports_are_for_the_hosts_of_the_homeserver() -> None:
    plan = good_plan({"type": "typing", "host": "app2"}, postgresql_host="app3", redis_host="app3")
    assert firewall_rules(plan, "app2") == {
        "address": "10.0.0.2",
        "family": "ip",
        "ports": [{"port": 12200, "what": "listen of typing-app2-1"}, {"port": 17200, "what": "replication of typing-app2-1"}],
        "sources": ["10.0.0.1", "10.0.0.3"],
    }
    assert [one["what"] for one in firewall_rules(plan, "app3")["ports"]] == ["PostgreSQL", "Redis"]
    # What everybody may reach, and what nobody but the host itself can, is not its business.
    assert [one["port"] for one in firewall_rules(plan, "app1")["ports"]] == [8008, 9093]


def test_a_single_host_has_nothing_to_close() -> None:
    plan = good_plan({"type": "typing"}, hosts={"app1": "127.0.0.1"}, groups={})
    assert firewall_rules(plan, "app1")["ports"] == []


def test_hosts_with_ipv6_are_let_in_by_it() -> None:
    plan = good_plan({"type": "typing"}, hosts={name: f"fd00::{number}" for number, name in enumerate(HOSTS, 1)})
    rules = firewall_rules(plan, "app1")
    assert (rules["family"], rules["sources"]) == ("ip6", ["fd00::2", "fd00::3"])


def test_others_may_be_let_in_and_what_overlaps_is_said_once() -> None:
    plan = good_plan({"type": "typing", "host": "app2"}, firewall_allowed_from=["10.0.0.0/29", "10.9.9.9", "10.9.9.9", "fd00::7"])
    assert firewall_rules(plan, "app2")["sources"] == ["10.0.0.0/29", "10.9.9.9"]
