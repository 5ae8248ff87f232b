"""Signs a request as a homeserver does, in plain Python, so that an outsider needs nothing but the standard library.

Sources: RFC 8032 (Ed25519, section 5.1); the Matrix specification, server-server API, "Request Authentication" and
"Canonical JSON". Not made for secrets that matter: the arithmetic takes a time that depends on the key.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, NamedTuple

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

# A point is (X, Y, Z, T) with x = X/Z, y = Y/Z and x*y = T/Z: adding two of them then needs no division.
Point = tuple[int, int, int, int]


def _add(a: Point, b: Point) -> Point:
    """The sum of two points of the curve."""
    minus, plus = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    across, along = 2 * a[3] * b[3] * D, 2 * a[2] * b[2]
    e, f, g, h = plus - minus, along - across, along + across, plus + minus
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(scalar: int, point: Point) -> Point:
    """``scalar`` times ``point``."""
    total: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _base() -> Point:
    """The point all keys are multiples of: y = 4/5, and x its even root."""
    y = 4 * pow(5, -1, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x & 1:
        x = P - x
    return x, y, 1, x * y % P


BASE = _base()


def _bytes(point: Point) -> bytes:
    """A point in 32 bytes: y, and the lowest bit of x on top."""
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _secret(seed: bytes) -> tuple[int, bytes]:
    """The secret number of a 32 byte seed, and what makes its nonces."""
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254, digest[32:]


def public_key(seed: bytes) -> bytes:
    """The 32 bytes with which others check what the owner of ``seed`` signed."""
    return _bytes(_times(_secret(seed)[0], BASE))


def ed25519_signature(seed: bytes, message: bytes) -> bytes:
    """The 64 bytes with which the owner of the 32 byte ``seed`` signs ``message``."""
    secret, prefix = _secret(seed)
    public = public_key(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER
    commitment = _bytes(_times(nonce, BASE))
    challenge = int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little") % ORDER
    return commitment + ((nonce + challenge * secret) % ORDER).to_bytes(32, "little")


def canonical_json(value: Any) -> bytes:
    """The one spelling of ``value`` that both sides sign: keys sorted, no blanks, no escapes that are not needed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class SigningKey(NamedTuple):
    """A homeserver's key, as the one line of its ``signing.key`` file holds it."""

    name: str
    """Algorithm and version, ``ed25519:a_AbCd``."""
    seed: bytes
    """32 bytes."""

    @classmethod
    def read(cls, text: str) -> SigningKey:
        """Read the first key of a key file (``signedjson.key.write_signing_keys``): ``ed25519 a_AbCd <base64>``."""
        algorithm, version, encoded = text.split("\n", 1)[0].split()
        if algorithm != "ed25519":
            raise ValueError(f"a key of the kind {algorithm} cannot sign")
        return cls(f"{algorithm}:{version}", base64.b64decode(encoded + "=" * (-len(encoded) % 4)))

    def authorization(self, server: str, destination: str, method: str, uri: str, content: Any = None) -> str:
        """The ``Authorization`` header of a request between servers; ``uri`` as it goes on the wire."""
        signed: dict[str, Any] = {"method": method, "uri": uri, "origin": server, "destination": destination}
        if content is not None:
            signed["content"] = content
        signature = base64.b64encode(ed25519_signature(self.seed, canonical_json(signed))).decode().rstrip("=")
        return f'X-Matrix origin="{server}",destination="{destination}",key="{self.name}",sig="{signature}"'
