"""Whether the table of endpoints fits the Synapse that is installed, by what its processes say they register.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..module_utils._endpoints import Endpoint, area_of, expand, matching_row, rows_for, sample_of
from ..module_utils._worker_types import BY_NAME, NEWEST_TESTED_SYNAPSE, OLDEST_SYNAPSE, parse_version
from ._servlets import Router, paths_of

# The areas whose servlets `synapse._scripts.generate_workers_map` lists. Of the others it says nothing.
SEEN = ("rooms", "client", "federation", "key")
LEFT_OUT = (
    "media, administration, single sign-on, pages for people, the Matrix Authentication Service, and who may write a stream"
)


def route_check(registered: dict[str, Any], version: str = "") -> dict[str, Any]:
    """Compares the table's rows for the installed release with what that release registers.

    Args:
        registered: ``release`` (``'1.163.2'``), ``main`` and ``worker``: lists of ``[method, regular expression]`` in the
            order in which Synapse tries them; or ``error``: why it could not be asked
            (``roles/synapse/files/registered_routes.py``).
        version: the release whose routes nginx gets (``synapse_version``); '' for the newest known.

    Returns:
        ``problems`` and ``notes`` (lists of sentences), ``compared`` (number of servlets), ``summary`` (sentences for the good
        case).

    Raises:
        ValueError: ``release`` is no release number.
    """
    result: dict[str, Any] = {"problems": [], "notes": [], "compared": 0, "summary": []}
    if registered.get("error"):
        result["problems"].append(f"Synapse could not be asked: {registered['error']}")
        return result
    release = str(registered["release"])
    found = parse_version(release)
    if found is None:
        raise ValueError(f"{release!r} is no release of Synapse")
    if found < OLDEST_SYNAPSE:
        result["problems"].append(
            f"Synapse {release} is installed; {_number(OLDEST_SYNAPSE)} is the oldest release whose workers this collection "
            f"knows. Upgrade Synapse first"
        )
        return result
    rows = rows_for(found)
    result["problems"] += _other_release(release, version, rows)
    main, worker = (_of_areas_seen(registered[kind]) for kind in ("main", "worker"))
    result["problems"] += _misfits(rows, main, worker)
    result["compared"] = len({*main, *worker})
    if not result["problems"]:
        result["summary"] = [f"{result['compared']} servlets of Synapse {release} fit the routes", f"not compared: {LEFT_OUT}"]
    if found > NEWEST_TESTED_SYNAPSE:
        result["notes"].append(
            f"Synapse {release} is newer than {_number(NEWEST_TESTED_SYNAPSE)}, the newest that this collection was tested with"
        )
    elif version and parse_version(version) != found and not _other_release(release, version, rows):
        result["notes"].append(f"synapse_version is {version}, but Synapse {release} is installed; their routes are the same")
    return result


def _other_release(release: str, version: str, rows: Sequence[Endpoint]) -> list[str]:
    """nginx gets the routes of ``version``; whether the installed ``release``, which has ``rows``, has others."""
    planned = rows_for(parse_version(version))
    others = dict.fromkeys(row.name for row in [*rows, *planned] if (row in rows) != (row in planned))
    if not others:
        return []
    return [
        f"Synapse {release} is installed, but nginx would get the routes of {version or 'the newest release known'}, which differ "
        f"in {', '.join(others)}. Set synapse_version: {release}"
    ]


def _of_areas_seen(routes: Any) -> list[tuple[str, str]]:
    return [(method, pattern) for method, pattern in routes if method != "OPTIONS"]


def _misfits(rows: Sequence[Endpoint], main: list[tuple[str, str]], worker: list[tuple[str, str]]) -> Iterator[str]:
    """One sentence per servlet that the table sends where it is not, or leaves where it need not be."""
    on_main, on_workers = (Router((method, pattern, pattern) for method, pattern in routes) for routes in (main, worker))
    told = set()
    for method, pattern in dict.fromkeys([*worker, *main]):
        verdicts: dict[str, list[str]] = {}
        for path in paths_of(pattern, _placeholder):
            verdict = _verdict(rows, on_main, on_workers, method, path)
            if verdict:
                verdicts.setdefault(verdict, []).append(path)
        for verdict, paths in verdicts.items():
            told.add((method, pattern))
            yield f"{method} {min(paths, key=_oddity)}: {verdict}"
    # And from the other side: a row may mean a path that none of the above stood for.
    for row in rows:
        for method in row.methods:
            for path in expand(row.path) if row.area in SEEN and row.types and method != "OPTIONS" else []:
                target = sample_of(path)
                pattern = on_main.answers(method, target)
                if not pattern or (method, pattern) in told:
                    continue
                verdict = _verdict(rows, on_main, on_workers, method, target)
                if verdict:
                    told.add((method, pattern))
                    yield f"{method} {path}: {verdict}"


def _verdict(rows: Sequence[Endpoint], on_main: Router, on_workers: Router, method: str, path: str) -> str:
    """What is wrong with the way that the table sends a request, or ''."""
    main_answers, worker_answers = on_main.answers(method, path), on_workers.answers(method, path)
    if not main_answers and not worker_answers:
        return ""
    area = area_of(path)
    if not area:
        return "no part of the table takes it; nginx would answer 404"
    if area not in SEEN:
        return ""
    row = matching_row(method, path, rows)
    if worker_answers and row is None:
        return "workers of this release serve it, but no row of the table names it; it would stay with the main process"
    # Where the table keeps from workers what they register, it says why.
    if worker_answers and row is not None and not row.types and not row.note:
        return "workers of this release serve it, but the table leaves it to the main process"
    # A servlet that only the writer of its stream may answer can be listed as denied to workers, as none is named as writer.
    writer = row is not None and row.only and row.types and BY_NAME[row.types[0]].streams and on_workers.knows(path)
    if row is not None and row.types and not worker_answers and not writer:
        return (
            f"workers of this release do not serve it, but the table sends it to {' or '.join(row.types)}; they would refuse it"
        )
    return ""


def _placeholder(name: str) -> str:
    """What stands for an open part of a path, in a sentence as well as for the routers."""
    return "{rest}" if name == "/" else f"{{{name or 'id'}}}"


def _oddity(path: str) -> tuple[bool, bool, str]:
    """Sorts the spellings of a path: the one that people know first."""
    return ("/v3/" not in path, "/unstable/" in path or "/api/" in path or "/r0/" in path, path)


def _number(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
