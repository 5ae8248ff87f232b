"""A server block that is somebody else's: what nginx would do with our snippet in it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._nginx_config import summary
from ansible_collections.synapse.workers.plugins.plugin_utils._nginx_vhosts import include_line, location_for, vhost_check

SNIPPET = "/etc/nginx/snippets/matrix-synapse.conf"
SETTINGS = {
    "snippet": SNIPPET,
    "http": "/etc/nginx/conf.d/matrix-synapse.conf",
    "hostname": "matrix.example.org",
    "main": "127.0.0.1:8008",
    "well_known": False,
    "pcre_jit": True,
}
INCLUDE = "include snippets/matrix-synapse[.]conf;"


def seen(*servers: str, head: str = "") -> dict[str, Any]:
    """What `nginx_info` tells of these server blocks."""
    blocks = "\n".join(f"server {{ server_name matrix.example.org;\n{body} }}" for body in servers)
    dump = f"""# configuration file /etc/nginx/nginx.conf:
{head} http {{ include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites/*; }}
# configuration file /etc/nginx/sites/matrix:
upstream main {{ server localhost:8008; }}
{blocks}
# configuration file {SNIPPET}:
location ^~ /_matrix/ {{ return 418; }}
location = /_matrix/client/v3/sync {{ proxy_pass http://127.0.0.1:8008; }}
proxy_http_version 1.1;
"""
    return {**summary(dump), "installed": True, "error": ""}


def check(*servers: str, head: str = "", **settings: Any) -> dict[str, list[str]]:
    return vhost_check(seen(*servers, head=head), {**SETTINGS, **settings})


def test_an_include_that_may_match_nothing_is_asked_for() -> None:
    assert include_line("/etc/nginx/snippets/matrix-synapse.conf") == "include /etc/nginx/snippets/matrix-synapse[.]conf;"


@pytest.mark.parametrize("include", [INCLUDE, f"include {SNIPPET};", "include /etc/nginx/snippets/*.conf;"])
def test_a_vhost_that_includes_the_snippet_is_fine(include: str) -> None:
    body = f"{include} location ~ ^(/_matrix|/_synapse/client) {{ proxy_pass http://main; }} location /_matrix {{ proxy_pass http://main; }}"
    assert check(body) == {"problems": [], "notes": [], "leads": True}


def test_without_the_include_the_place_for_it_is_named() -> None:
    (problem,) = check("location /_matrix { proxy_pass http://localhost:8008; }", "location / { root /x; }")["problems"]
    assert "/etc/nginx/sites/matrix:2 (matrix.example.org)" in problem
    assert "include /etc/nginx/snippets/matrix-synapse[.]conf;" in problem
    (problem,) = check("location / { root /x; }")["problems"]
    assert "/etc/nginx/sites/matrix:2" in problem


def test_a_second_way_to_the_main_process_is_named() -> None:
    (problem,) = check(INCLUDE, "location /_matrix { proxy_pass http://main; }")["problems"]
    assert problem.startswith("/etc/nginx/sites/matrix:4 (matrix.example.org) sends requests to the main process")


@pytest.mark.parametrize(
    ("directive", "words"),
    [
        ("location /_matrix/media/ { proxy_pass http://main; }", "`location /_matrix/media/` takes requests away"),
        ("location = /_matrix/client/v3/sync { proxy_pass http://main; }", "`location = /_matrix/client/v3/sync` takes requests away"),
        ("location ^~ /_synapse/client/ { proxy_pass http://main; }", "`location ^~ /_synapse/client/` takes requests away"),
        ("location /_matrix/ { proxy_pass http://main; }", "write it as `location /_matrix`"),
        ("client_max_body_size 10M;", "sets client_max_body_size"),
        ("return 301 https://$host$request_uri;", "answers every request"),
        ("proxy_set_header Host $host;", "the header Host"),
    ],
)
def test_what_stands_in_the_way_is_named_with_its_line(directive: str, words: str) -> None:
    found = check(f"{INCLUDE}\n{directive}")
    (problem,) = found["problems"]
    assert problem.startswith("/etc/nginx/sites/matrix:4: ")
    assert words in problem


@pytest.mark.parametrize(
    "directive",
    [
        "location ~ ^/_matrix/client/r0/sync { proxy_pass http://main; }",
        "location /_matrix { proxy_pass http://main; }",
        "location /.well-known/matrix/client { return 200; }",
        "location = /.well-known/matrix/client { return 200; }",
        "location / { return 200; }",
        "location /_matrixother/ { return 200; }",
        "add_header X-Frame-Options deny;",
        "proxy_set_header X-Real-IP $remote_addr;",
    ],
)
def test_what_our_snippet_outranks_or_leaves_alone_is_not_in_the_way(directive: str) -> None:
    assert check(f"{INCLUDE} {directive}") == {"problems": [], "notes": [], "leads": True}


def test_the_administrators_own_way_is_worth_a_note() -> None:
    found = check(f"{INCLUDE} location /_synapse/admin {{ allow 127.0.0.1; deny all; proxy_pass http://main; }}")
    assert found["problems"] == []
    assert "stays with the vhost" in found["notes"][0]


def test_well_known_is_ours_only_when_the_snippet_answers_it() -> None:
    body = f"{INCLUDE} location = /.well-known/matrix/client {{ return 200; }}"
    assert "takes requests away" in check(body, well_known=True)["problems"][0]


def test_what_nginx_takes_once_is_named() -> None:
    (problem,) = check(INCLUDE, head="pcre_jit on;")["problems"]
    assert "nginx_pcre_jit: false" in problem
    assert check(INCLUDE, head="pcre_jit on;", pcre_jit=False)["problems"] == []


def test_an_nginx_that_is_broken_already_speaks_for_itself() -> None:
    value = {**seen(INCLUDE), "error": "[emerg] unknown directive"}
    assert vhost_check(value, SETTINGS)["problems"] == ["nginx refuses its files as they are: [emerg] unknown directive"]


def test_a_socket_is_the_main_process_too() -> None:
    (problem,) = check(INCLUDE, "location / { proxy_pass http://unix:/run/x/main.sock; }", main="/run/x/main.sock")[
        "problems"
    ]
    assert "sends requests to the main process" in problem


@pytest.mark.parametrize(
    ("path", "chosen"),
    [("/a/b", "~"), ("/a", "="), ("/c/d", "^~"), ("/e", ""), ("/A/b", "~*")],
)
def test_locations_rank_as_in_nginx(path: str, chosen: str) -> None:
    body = "location = /a {} location ~ ^/a {} location ~* ^/A/ {} location ^~ /c/ {} location ~ ^/c {} location / {}"
    (server,) = seen(body)["servers"]
    location = location_for(server, path)
    assert location is not None
    assert location["modifier"] == chosen
