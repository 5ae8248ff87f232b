"""What every filter of this collection does around its one function.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ._plain import plain


def as_filter(name: str, function: Callable[..., Any], takes: type) -> Callable[..., Any]:
    """``function`` as a Jinja filter: plain input, the outer type checked, every error one sentence with the filter's name."""

    def filtered(value: Any, *args: Any, **kwargs: Any) -> Any:
        value = plain(value)
        if not isinstance(value, takes):
            raise AnsibleFilterError(f"synapse.workers.{name}: takes a {takes.__name__}, not a {type(value).__name__}")
        try:
            return function(value, *plain(args), **plain(kwargs))
        except KeyError as error:
            raise AnsibleFilterError(f"synapse.workers.{name}: {error} is missing") from error
        except (TypeError, ValueError) as error:
            raise AnsibleFilterError(f"synapse.workers.{name}: {error}") from error

    return filtered
