"""``python3 -m outsider --edge http://ADDRESS --server-name NAME --log 'COMMAND' …``: walk, judge, print.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable

from . import federation, keeping, talking
from .edge import Edge, read_log
from .judge import Plan, Row, summary, table
from .refusals import refusals
from .signing import SigningKey
from .story import Story
from .walk import Walk

# In this order: each uses what those before it made.
AREAS: tuple[tuple[str, Callable[[Story], None]], ...] = (
    ("the server", talking.the_server),
    ("accounts", talking.accounts),
    ("rooms", talking.rooms),
    ("messages", talking.messages),
    ("reading", talking.reading),
    ("sync", talking.sync),
    ("short-lived", keeping.short_lived),
    ("account data", keeping.account_data),
    ("push rules", keeping.push_rules),
    ("devices and keys", keeping.devices_and_keys),
    ("threads and delayed events", keeping.threads_and_delayed_events),
    ("media", keeping.media_repository),
    ("odd ids", keeping.odd_ids),
    ("directory", talking.directory),
    ("only the main process", talking.only_main),
    ("federation", federation.unsigned),
)


def traffic(
    edge: Edge,
    log: str,
    plan: Plan | None,
    key: SigningKey | None,
    sso: bool = False,
    tell: Callable[[str], None] = lambda _text: None,
) -> tuple[list[Row], dict[str, str]]:
    """All requests, judged; and the short names of ids for the table.

    ``log``: command that prints the access log; no ``key``: nothing is asked as another server; ``sso``: whether CAS is
    configured. Raises ``RuntimeError`` when the log cannot be read.
    """
    walk = Walk(edge, tell)
    story = Story(walk)
    for area, part in AREAS:
        with walk.on(area):
            part(story)
    if key is not None:
        with walk.on("federation, signed"):
            federation.signed(story, key)
    if sso:
        with walk.on("single sign-on"):
            talking.single_sign_on(story)
    with walk.on("not for outsiders"):
        refusals(walk)
    with walk.on("goodbye"):
        talking.goodbye(story)
    lines = read_log(log, {row.agent for row in walk.rows if row.response.status})
    for row in walk.rows:
        row.judge(plan, lines.get(row.agent))
    return walk.rows, walk.short


def output_of(command: str) -> str:
    """What a command prints. Raises ``RuntimeError`` when it fails."""
    run = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{command}: {run.stderr.strip() or run.returncode}")
    return run.stdout


def main() -> int:
    """0: all rows right; 1: some are not; 2: it could not be asked."""
    parser = argparse.ArgumentParser(
        prog="outsider", description="Asks a homeserver's edge what users and other servers ask, and says who answered."
    )
    parser.add_argument("--edge", required=True, metavar="URL", help="where to connect, http://192.0.2.1")
    parser.add_argument("--server-name", required=True, help="name of the homeserver, as in user ids")
    parser.add_argument("--host", default="", help="value of Host, where it is another")
    parser.add_argument("--ca-file", default="", help="certificates to trust, for https")
    parser.add_argument("--log", required=True, metavar="COMMAND", help="prints the edge's access log")
    parser.add_argument(
        "--signing-key",
        default="",
        metavar="COMMAND",
        help="prints the server's signing key; without it nothing is signed",
    )
    parser.add_argument(
        "--plan", default="", metavar="COMMAND", help="prints synapse_workers as JSON; without it any worker may answer"
    )
    parser.add_argument("--sso", action="store_true", help="the server is configured for CAS")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    try:
        plan = Plan.read(json.loads(output_of(options.plan))) if options.plan else None
        key = SigningKey.read(output_of(options.signing_key)) if options.signing_key else None
        edge = Edge(options.edge, options.server_name, options.host, options.ca_file)
        rows, short = traffic(edge, options.log, plan, key, options.sso, lambda area: print(f"asking: {area}", file=sys.stderr))
    except (RuntimeError, ValueError, OSError) as error:
        print(f"outsider: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([row.plain() for row in rows], indent=2))
    else:
        print(table(rows, short))
        print("\n" + summary(rows))
    return int(any(row.problems for row in rows))


if __name__ == "__main__":
    sys.exit(main())
