"""Who may see the console: this machine alone, or whoever knows the token.

Without a token the worker listens on loopback only (streams/settings.py refuses anything else), and a request must name
this machine in `Host`: a page of somebody else, whose name was made to point to loopback, would otherwise be read by
the browser as if it were ours (DNS rebinding). With a token each request carries it as `Authorization: Bearer`, put
there by a reverse proxy or a script, or a cookie that the sign-in form gave out in exchange for it.

The cookie is `<end>.<HMAC-SHA-256 of it under the token>`: it can't be turned back into the token, needs no memory on
the worker, holds for every worker with the same token, and ends with another token or at its time.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from ipaddress import ip_address

COOKIE = "gate_console"
# A working day: longer, and a cookie outlives the shift of who signed in; shorter, and they sign in twice.
SESSION_SECONDS = 8 * 3_600
# As for a signing key (schemas/signature.py): 32 random characters can't be guessed, so tries need no counting.
MIN_TOKEN_CHARACTERS = 32
# What RFC 6750 lets a bearer token consist of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_COOKIE = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ConsoleToken:
    """The token of GATE_CONSOLE_TOKEN_FILE."""

    secret: bytes = field(repr=False)

    def is_token(self, text: str) -> bool:
        """Tell whether this is the token, in a time that says nothing about it."""
        return hmac.compare_digest(self.secret, text.encode("utf-8", "surrogateescape"))

    def is_bearer(self, header: str | None) -> bool:
        """Tell whether an `Authorization` header carries the token."""
        scheme, _, given = (header or "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def session(self, now_s: float) -> str:
        """Return a cookie that holds from now on for SESSION_SECONDS."""
        end = str(int(now_s) + SESSION_SECONDS)
        return f"{end}.{self._mark(end)}"

    def is_session(self, cookie: str | None, now_s: float) -> bool:
        """Tell whether a cookie is one of ours, and has not ended."""
        found = _COOKIE.fullmatch(cookie or "")
        if found is None:
            return False
        return hmac.compare_digest(self._mark(found[1]), found[2]) and now_s < int(found[1])

    def _mark(self, end: str) -> str:
        return hmac.digest(self.secret, f"withdrawal-gate console until {end}".encode(), "sha256").hex()


def parse_token(text: str) -> ConsoleToken:
    """Read the one line of a token file; ValueError says what is wrong and repeats nothing of it."""
    token = text.strip()
    if len(token) < MIN_TOKEN_CHARACTERS or _TOKEN.fullmatch(token) is None:
        message = f"needed is one line of at least {MIN_TOKEN_CHARACTERS} letters, digits or any of ._~+/-"
        raise ValueError(message)
    return ConsoleToken(token.encode())


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on, or a name to be called by, is this machine's own and nobody else's."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def names_this_machine(host_header: str | None) -> bool:
    """Tell whether a `Host` header is one of loopback, with any port: a tunnel may end at another."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?", host_header or "", re.IGNORECASE)
    return found is not None and is_loopback(found[1].strip("[]"))
