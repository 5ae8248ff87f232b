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


@pytest.mark.parametrize("directive", ["NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices"])
def test_processes_are_locked_in(directive: str, fleet: Fleet) -> None:
    for host in fleet.hosts:
        for unit in sorted(fleet.units(host)):
            assert fleet.output(host, f"systemctl show --value --property={directive} {unit}") == "yes", unit


def test_the_helper_of_nginx_is_for_nginx_only_and_may_do_next_to_nothing(fleet: Fleet) -> None:
    for host in fleet.edges:
        unit = f"{SERVICE}-hold"
        assert fleet.output(host, f"systemctl is-enabled {unit}.socket; systemctl is-active {unit}.socket") == "enabled\nactive"
        assert fleet.output(host, f"stat --format='%a %U %G' /run/{unit}/hold.sock") == "660 root www-data"
        exposure = fleet.output(host, f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
        assert float(re.search(r"([0-9.]+) OK|([0-9.]+) SAFE", exposure).group(0).split()[0]) <= 1.2, exposure  # type: ignore[union-attr]
