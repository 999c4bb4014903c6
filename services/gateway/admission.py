"""Who may call, how often, and how much at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from planmesh.errors import Overloaded, Unauthenticated
from planmesh.rpc.interceptors import Context
from planmesh.settings import SettingsError
from planmesh.telemetry import names
from planmesh.telemetry.metrics import Instruments

AUTHORIZATION: Final = "authorization"
SCHEME: Final = "bearer "
TOKENS_MAX: Final = 1_000
"""Tokens of the file: every one is compared at every call, so that the time tells nothing."""
TOKEN_CHARACTERS_MIN: Final = 16
"""A shorter token can be guessed."""
CALLERS_MAX: Final = 10_000
"""Callers whose rate is remembered; the one that called longest ago is forgotten first."""
BURST_S: Final = 1.0
"""A caller that was silent may ask for as many plans at once as its rate gives in this time."""
RETRY_AFTER_S: Final = 0.25
"""When to come back if too many calls are under way: most calls last some milliseconds."""


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """SHA-256 digests of the tokens in a file, one a line; blank lines and lines that begin with # are skipped.

    Raises SettingsError, which never repeats a token.
    """
    variable = "PLANMESH_GATEWAY_TOKEN_FILE"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    tokens = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not tokens:
        raise SettingsError(f"{variable}: {path} has no token in it; without the variable every caller is let in")
    if len(tokens) > TOKENS_MAX:
        raise SettingsError(f"{variable}: {path} has {len(tokens)} tokens, more than {TOKENS_MAX}")
    for number, token in tokens:
        if len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() or any(c.isspace() for c in token):
            raise SettingsError(
                f"{variable}: {path}, line {number}: expected at least {TOKEN_CHARACTERS_MIN} ASCII characters "
                "without spaces"
            )
    return tuple(hashlib.sha256(token.encode()).digest() for _, token in tokens)


class RateLimit:
    """So many plans a second for each caller on average, BURST_S of them at once.

    The generic cell rate algorithm (ATM Forum, Traffic Management 4.0): one number a caller, the time at which all
    that was asked so far is paid off. A batch of pairs passes when the caller is not behind, and is paid off after.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._paid_at_s: LRUCache[str, float] = LRUCache(CALLERS_MAX)

    def take(self, caller: str, plans: int, now_s: float) -> None:
        """Count `plans` of `caller`. Raises Overloaded that says when to come back."""
        paid_at_s = max(self._paid_at_s.get(caller, now_s), now_s)
        behind_s = paid_at_s - now_s - BURST_S + self._interval_s
        if behind_s > 1e-9:
            raise Overloaded(
                f"more than {1 / self._interval_s:g} plans a second; come back in {behind_s:.3f} s",
                bound="gateway_rate_per_s",
                retry_after_s=behind_s,
            )
        self._paid_at_s[caller] = paid_at_s + plans * self._interval_s


class Admission:
    """Lets calls in: credentials first, then the caller's rate, then what is under way in all."""

    def __init__(
        self,
        instruments: Instruments,
        *,
        in_flight_max: int,
        pairs_in_flight_max: int,
        rate_per_s: float = 0.0,
        token_digests: Sequence[bytes] = (),
    ) -> None:
        self._instruments = instruments
        self._in_flight_max = in_flight_max
        self._pairs_max = pairs_in_flight_max
        self._rate = RateLimit(rate_per_s) if rate_per_s > 0 else None
        self._digests = tuple(token_digests)
        self.in_flight = 0
        """Calls under way."""
        self.pairs_in_flight = 0
        """Pairs of the PlanMany calls under way."""

    @contextlib.contextmanager
    def admit(self, context: Context, *, plans: int = 0, pairs: int = 0) -> Iterator[None]:
        """Hold a place for a call while it is under way.

        `plans` count toward the caller's rate; `pairs` (of a PlanMany) toward a bound of their own, beside the one
        place that the call itself takes. Raises Unauthenticated or Overloaded.
        """
        caller = self.authenticate(context)
        if self._rate is not None and plans:
            try:
                self._rate.take(caller, plans, time.monotonic())
            except Overloaded:
                self._instruments.refused.add(1, {names.REASON: "rate"})
                raise
        if self.in_flight >= self._in_flight_max:
            raise self._full("calls", self._in_flight_max, "gateway_in_flight_max")
        # One batch is let in whatever its size, else a bound below 10,000 would refuse some batches for ever.
        if pairs and self.pairs_in_flight and self.pairs_in_flight + pairs > self._pairs_max:
            raise self._full("pairs", self._pairs_max, "gateway_pairs_in_flight_max")
        self.in_flight += 1
        self.pairs_in_flight += pairs
        self._instruments.in_flight.add(1)
        try:
            yield
        finally:
            self.in_flight -= 1
            self.pairs_in_flight -= pairs
            self._instruments.in_flight.add(-1)

    def _full(self, what: str, bound: int, name: str) -> Overloaded:
        self._instruments.refused.add(1, {names.REASON: what})
        return Overloaded(
            f"{bound} {what} are under way, which is the bound; come back in {RETRY_AFTER_S} s",
            bound=name,
            retry_after_s=RETRY_AFTER_S,
        )

    def authenticate(self, context: Context) -> str:
        """A name for the caller: of its token, else of its host. Raises Unauthenticated."""
        if not self._digests:
            # ipv4:127.0.0.1:40312, ipv6:[::1]:40312, unix:
            return context.peer().rpartition(":")[0]
        for key, value in context.invocation_metadata() or ():
            if key == AUTHORIZATION:
                text = value if isinstance(value, str) else value.decode("latin-1")
                return self._owner(text)
        raise Unauthenticated("expected the metadata `authorization: Bearer TOKEN`, got none")

    def _owner(self, authorization: str) -> str:
        if authorization[: len(SCHEME)].lower() != SCHEME:
            raise Unauthenticated("expected the metadata `authorization: Bearer TOKEN`, got another scheme")
        digest = hashlib.sha256(authorization[len(SCHEME) :].strip().encode()).digest()
        known = False
        for candidate in self._digests:
            known |= hmac.compare_digest(candidate, digest)
        if not known:
            raise Unauthenticated("the bearer token is not known")
        return digest.hex()
