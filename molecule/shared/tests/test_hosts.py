"""Processes run as planned, and nobody reads what he should not."""

from __future__ import annotations

import re

import pytest
import yaml
from fleet import CONFIG, SERVICE, UNITS, Fleet

SECRETS = f"{CONFIG}/secrets"


def test_exactly_the_planned_units_run_and_start_with_the_host(fleet: Fleet) -> None:
    for host in fleet.hosts:
        listed = fleet.output(host, f"systemctl list-units --all --plain --no-legend {UNITS} | tr -s ' '")
        # A unit that is only mentioned, after which others would start, is listed as not found.
        states = {unit: state for unit, found, state, *_ in map(str.split, listed.splitlines()) if found != "not-found"}
        assert states == dict.fromkeys(fleet.units(host), "active"), host
        # What the target wants, and the target itself, come up with the host.
        wanted = fleet.output(host, f"systemctl show --value --property=Wants {SERVICE}.target").split()
        assert fleet.units(host) <= set(wanted), host
        if states:
            assert fleet.output(host, f"systemctl is-enabled {SERVICE}.target") == "enabled", host


def test_units_belong_to_the_target(fleet: Fleet) -> None:
    for host in fleet.hosts:
        for unit in sorted(fleet.units(host)):
            assert fleet.output(host, f"systemctl show --value --property=PartOf {unit}") == f"{SERVICE}.target", unit


def test_no_process_had_to_be_started_twice(fleet: Fleet) -> None:
    for host in fleet.hosts:
        for unit in sorted(fleet.units(host)):
            assert fleet.output(host, f"systemctl show --value --property=NRestarts {unit}") == "0", unit


def test_no_unit_failed(fleet: Fleet) -> None:
    for host in fleet.hosts:
        assert fleet.output(host, "systemctl list-units --failed --plain --no-legend") == "", host


def test_every_process_says_that_it_is_healthy(fleet: Fleet) -> None:
    for host in fleet.hosts:
        files = [f"workers/{name}.yaml" for name, where in fleet.workers().items() if where == host]
        if host == fleet.main_host:
            files.append("conf.d/90-synapse-workers.yaml")
        for file in files:
            settings = yaml.safe_load(fleet.output(host, f"cat {CONFIG}/{file}"))
            first = (settings.get("worker_listeners") or settings["listeners"])[0]
            place = "localhost" if "path" in first else f"{first['bind_addresses'][0]}:{first['port']}"
            assert fleet.get(host, f"http://{place}/health", first.get("path", "")) == "OK", file


def test_secrets_are_for_the_service_only(fleet: Fleet) -> None:
    for host in fleet.hosts:
        if not fleet.units(host):
            continue
        assert fleet.output(host, f"stat --format='%a %U %G' {SECRETS}") == f"750 root {SERVICE}", host
        files = fleet.output(host, f"find {SECRETS} -type f -printf '%m %u %g %f\\n'").splitlines()
        assert files
        for line in files:
            mode, owner, group, name = line.split()
            # libpq reads a password file only when nobody but its owner may.
            strict = ("400", SERVICE, SERVICE) if name == "pgpass" else ("640", "root", SERVICE)
            assert (mode, owner, group) == strict, (host, name)


def test_nobody_else_reads_or_writes_settings(fleet: Fleet) -> None:
    for host in fleet.hosts:
        if not fleet.units(host):
            continue
        loose = rf"find {CONFIG} ! -type l \( -perm /o=rwx -o -perm /g=w -o ! -group {SERVICE} \) ! -name pgpass"
        assert fleet.output(host, loose) == "", host
        owners = set(fleet.output(host, f"find {CONFIG} -type f ! -name pgpass -printf '%u\\n'").split())
        assert owners == {"root"}, host


def test_secrets_stand_in_no_other_file_and_in_no_command_line(fleet: Fleet) -> None:
    for host in fleet.hosts:
        if not fleet.units(host):
            continue
        # Every word of 16 characters or more in the secrets' files; passed by a pipe, so that this is no leak itself.
        words = f"cat {SECRETS}/* | tr -s ' :\\n' '\\n' | grep -E '^.{{16,}}$' | sort -u"
        assert int(fleet.output(host, f"{words} | wc -l")) > 1
        places = f"{CONFIG}/*.yaml {CONFIG}/conf.d {CONFIG}/workers /etc/systemd/system /etc/nginx /etc/default"
        assert fleet.output(host, f"{words} | grep -rlF -f - {places} 2>/dev/null || true") == "", host
        commands = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' >/run/commands"
        count = f"{commands}; {words} | grep -cF -f - /run/commands || true; rm /run/commands"
        assert fleet.output(host, count) == "0", host


# The highest exposure that a unit of ours may have, by systemd's own score of 0 to 10.
MOST = 2.0


def exposures(fleet: Fleet, host: str) -> dict[str, float]:
    """What systemd says of every service it has loaded."""
    listed = fleet.output(host, "systemd-analyze security --no-pager | tail -n +2")
    return {unit: float(score) for unit, score, *_ in map(str.split, listed.splitlines())}


def exposure(fleet: Fleet, host: str, unit: str) -> float:
    """What systemd says of one."""
    line = fleet.output(host, f"systemd-analyze security --no-pager {unit} | tail -n 1")
    found = re.search(r"exposure level for \S+: ([0-9.]+)", line)
    assert found, line
    return float(found[1])


def unguarded(fleet: Fleet, host: str, unit: str) -> float:
    """The exposure of the same command and account in a unit that says no more than Synapse's documentation does of its own
    (docs/systemd-with-workers, 1.163.2)."""
    user = fleet.output(host, f"systemctl show --value --property=User {unit}")
    text = f"[Service]\nType=notify\nUser={user}\nWorkingDirectory=/\nExecStart=/bin/true\nRestart=always"
    path = "/run/systemd/system/synapse-unguarded.service"
    fleet.output(host, f"printf '{text}\n' >{path} && systemctl daemon-reload")
    try:
        return exposure(fleet, host, "synapse-unguarded.service")
    finally:
        fleet.output(host, f"rm {path} && systemctl daemon-reload")


def test_units_are_locked_in_by_systemds_own_score(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    rows, loose = [f"{'host':<24}{'unit':<58}{'before':>8}{'after':>8}"], []
    for host in fleet.hosts:
        scores = exposures(fleet, host)
        ours = sorted(fleet.units(host)) + ([f"{SERVICE}-hold.service"] if host in fleet.edges else [])
        ours += [f"{SERVICE}-firewall.service"] if fleet.variable("synapse_firewall") else []
        before: dict[str, float] = {}
        for unit in ours:
            # Workers differ in their names only.
            kind = unit.partition("@")[0]
            before[kind] = before.get(kind) or unguarded(fleet, host, unit)
            # The list leaves out what runs only for a moment.
            score = scores[unit] if unit in scores else exposure(fleet, host, unit)
            rows.append(f"{host:<24}{unit:<58}{before[kind]:>8}{score:>8}")
            loose += [unit] if score > MOST else []
            assert before[kind] > 8
    with capsys.disabled():
        print("\n" + "\n".join(rows))
    assert loose == []


def test_the_helper_of_nginx_is_for_nginx_only(fleet: Fleet) -> None:
    for host in fleet.edges:
        unit = f"{SERVICE}-hold"
        assert fleet.output(host, f"systemctl is-enabled {unit}.socket; systemctl is-active {unit}.socket") == "enabled\nactive"
        assert fleet.output(host, f"stat --format='%a %U %G' /run/{unit}/hold.sock") == "660 root www-data"
