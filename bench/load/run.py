#!/usr/bin/env python3
"""Puts users on a homeserver for some seconds, and accounts for every request they make.

    bench/load/run.py --edge http://192.0.2.1 --server-name example.org --seconds 60

The server has to let everybody register and must not limit them (molecule/shared/open_to_tests.yml). Until it ends by itself,
or by Ctrl-C, you can do to the server what you like. Exit status 0: no request failed, nothing was lost or doubled.

    bench/load/run.py … --operation 'one more=ansible-playbook -i inventory.yml synapse.workers.roll_out'

does it for you, and gives each operation a row of the table.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "dev")]

from outsider.edge import Edge  # noqa: E402
from outsider.signing import SigningKey  # noqa: E402

from bench.load.book import failures, table  # noqa: E402
from bench.load.load import Load  # noqa: E402
from bench.load.people import RATES, Size, Unable  # noqa: E402


def rate(text: str) -> tuple[str, float]:
    """``send, PUT=3`` → the kind and its requests per second."""
    kind, _, number = text.rpartition("=")
    if kind not in RATES:
        raise argparse.ArgumentTypeError(f"there is no kind {kind!r}, only: {'; '.join(RATES)}")
    return kind, float(number)


def operation(text: str) -> tuple[str, list[str]]:
    """``name=command`` → both."""
    name, equals, command = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=COMMAND")
    return name, shlex.split(command)


def carry_out(load: Load, operations: list[tuple[str, list[str]]]) -> str:
    """Do one after the other under the load; returns what the first that failed had to say, '' when none did."""
    for name, command in operations:
        print(name, file=sys.stderr, flush=True)
        with load.operation(name):
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if run.returncode:
            return f"{run.stdout}{name}: exit status {run.returncode}"
    return ""


def main() -> int:
    size = Size()
    parser = argparse.ArgumentParser(description="Users for a homeserver, and an account of every request they make.")
    parser.add_argument("--edge", required=True, metavar="URL", help="where to connect, http://192.0.2.1")
    parser.add_argument("--server-name", required=True, help="name of the homeserver, as in user ids")
    parser.add_argument("--host", default="", help="value of Host, where it is another")
    parser.add_argument("--ca-file", default="", help="certificates to trust, for https")
    parser.add_argument(
        "--signing-key", default="", metavar="COMMAND", help="prints the server's signing key, to ask as a server"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long, once everybody is there")
    parser.add_argument("--requests", type=int, default=200_000, help="at most so many")
    parser.add_argument("--quiet", type=int, default=size.quiet, help="accounts that only hold long-polls")
    parser.add_argument("--devices", type=int, default=size.devices, help="devices of each of these")
    parser.add_argument("--rooms", type=int, default=size.rooms)
    parser.add_argument("--talkers", type=int, default=size.talkers, help="accounts that talk in each room")
    parser.add_argument("--pace", type=float, default=size.pace, help="factor on all rates")
    parser.add_argument("--rate", type=rate, action="append", default=[], metavar="KIND=PER_SECOND", help="one of them")
    parser.add_argument(
        "--operation",
        type=operation,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="run one after the other, in place of --seconds; each is a row of the table",
    )
    parser.add_argument("--write", type=Path, metavar="PATH", help="PATH.md and PATH.json: the tables, and every request")
    parser.add_argument("--brief", action="store_true", help="one line instead of tables, unless something failed")
    options = parser.parse_args()
    size = Size(options.quiet, options.devices, options.rooms, options.talkers, options.pace, dict(options.rate))
    key = None
    if options.signing_key:
        printed = subprocess.run(shlex.split(options.signing_key), capture_output=True, text=True, check=True).stdout
        key = SigningKey.read(printed)
    edge = Edge(options.edge, options.server_name, options.host, options.ca_file)
    load = Load(edge, size, key, most_requests=options.requests)
    trouble = ""
    try:
        with load:
            print(f"{size.polls} long-polls are held", file=sys.stderr, flush=True)
            trouble = carry_out(load, options.operation)
            end = time.monotonic() + (0 if options.operation else options.seconds)
            try:
                while time.monotonic() < end and len(load.book.entries) < options.requests:
                    time.sleep(0.2)
            except KeyboardInterrupt:
                pass
    except Unable as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    account = load.book.account()
    if len(account) == 1:
        account[0].name = "all"
    noticed = any(one.noticed for one in account)
    if options.brief and not noticed:
        requests, messages = sum(one.requests for one in account), sum(one.messages for one in account)
        print(f"{requests} requests, 0 failed; {messages} messages, none lost, none doubled")
    elif options.operation and not noticed:
        print(table(account))
    else:
        print(table(account), failures(account), table(load.book.by_kind(), "kind of request"), sep="\n\n")
    if options.write:
        load.write(options.write, f"{size.polls} long-polls")
    if trouble:
        print(f"load: {trouble}", file=sys.stderr)
        return 2
    return int(noticed)


if __name__ == "__main__":
    sys.exit(main())
