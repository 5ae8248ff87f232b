"""What `nginx -T` prints, read back."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._nginx_config import release, summary

DUMP = r"""# configuration file /etc/nginx/nginx.conf:
user www-data; pcre_jit on;
http {
    include /etc/nginx/conf.d/*.conf;
    include sites-enabled/*;
}
# configuration file /etc/nginx/sites-enabled/matrix:
upstream sync { server 127.0.0.1:8083; server [::1]:8084 weight=2; }  # two; of { them
server {
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name matrix.example.org "other name";
    proxy_set_header Authorization 'Basic; secret{';
    include snippets/ours[.]conf;
    include /etc/nginx/more/*.inc;
    location ~ ^/_matrix/client/(v2_alpha|r0)/sync$ {
        proxy_pass http://sync$request_uri;
    }
    location ~*^/a\{2 { if ($request_method = GET) { proxy_pass http://sync; } }
    location / { location = /inner { return 204; } }
}
# configuration file /etc/nginx/more/1.inc:
location = /more { proxy_pass http://unix:/run/main.sock; }
# configuration file /etc/nginx/more/deeper/2.inc:
location /deeper {}
"""


class Host:
    """A host as a module sees it, with what `nginx -v` says there; None where there is no nginx."""

    def __init__(self, words: str | None) -> None:
        self.words = words

    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str | None:
        return None if self.words is None else f"{opt_dirs[0]}/{name}"

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        assert command == ["/usr/sbin/nginx", "-v"]
        return 0, "", f"{self.words}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("nginx version: nginx/1.26.3 (Debian)", "1.26.3"),
        ("nginx version: openresty/1.25.3.1", "1.25.3.1"),
        ("Angie version: Angie/1.8.1", ""),
        (None, ""),
    ],
)
def test_the_release_is_told_where_it_is_nginx(words: str | None, told: str) -> None:
    assert release(Host(words)) == told


def locations(server: dict[str, Any]) -> list[tuple[str, str, list[str], str, int]]:
    return [(one["modifier"], one["path"], one["asks"], one["file"].rpartition("/")[2], one["line"]) for one in server["locations"]]


def test_a_server_is_told_with_all_that_it_includes() -> None:
    value = summary(DUMP)
    (server,) = value["servers"]
    assert (server["file"], server["line"]) == ("/etc/nginx/sites-enabled/matrix", 2)
    assert server["listen"] == ["443 ssl", "[::]:443 ssl"]
    assert server["names"] == ["matrix.example.org", "other name"]
    assert [one["path"] for one in server["includes"]] == ["/etc/nginx/snippets/ours[.]conf", "/etc/nginx/more/*.inc"]
    assert locations(server) == [
        # A wildcard does not reach into folders, and includes are read in their place.
        ("=", "/more", ["http://unix:/run/main.sock"], "1.inc", 1),
        ("~", "^/_matrix/client/(v2_alpha|r0)/sync$", ["http://sync$request_uri"], "matrix", 9),
        ("~*", r"^/a\{2", ["http://sync"], "matrix", 12),
        ("", "/", [], "matrix", 13),
        ("=", "/inner", [], "matrix", 13),
    ]
    assert value["upstreams"] == {"sync": ["127.0.0.1:8083", "[::1]:8084"]}
    assert value["http_includes"] == ["/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*"]
    assert [one["words"] for one in value["main"]] == [["user", "www-data"], ["pcre_jit", "on"]]


def test_no_secret_of_a_header_is_told() -> None:
    assert "secret" not in str(summary(DUMP))


def test_nothing_makes_nothing() -> None:
    assert summary("") == {"servers": [], "upstreams": {}, "http_includes": [], "main": []}
