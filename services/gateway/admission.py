"""Admission of calls: credentials, rates of callers, and bounds on concurrent calls."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from planmesh.errors import Overloaded, Unauthenticated
from planmesh.rpc.interceptors import Context
from planmesh.settings import SettingsError
from planmesh.telemetry import names
from planmesh.telemetry.metrics import Instruments
from services.gateway.forwarded import TrustedProxies
from services.gateway.kinds import KIND_OF, Kind, KindBounds

AUTHORIZATION: Final = "authorization"
SCHEME: Final = "bearer "
TOKENS_MAX: Final = 1_000
"""Tokens of the file. Every call is compared with each of them, so that the time taken reveals nothing about them."""
TOKEN_CHARACTERS_MIN: Final = 16
"""Shorter tokens could be guessed."""
CALLERS_MAX: Final = 10_000
"""Callers whose rate is remembered. The one that called longest ago is forgotten first."""
BURST_S: Final = 1.0
"""A caller that was idle may send as many calls at once as its rate allows in this time."""
RETRY_AFTER_S: Final = 0.25
"""When a caller should retry if too many calls are in progress; most calls take some milliseconds."""
NO_PROXIES: Final = TrustedProxies()


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """Return the SHA-256 digests of the tokens in a file, which has one per line.

    Blank lines and lines that start with # are skipped. Raises SettingsError, whose message never contains a token.
    """
    variable = "PLANMESH_GATEWAY_TOKEN_FILE"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    tokens = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not tokens:
        raise SettingsError(f"{variable}: {path} contains no token; to admit every caller, unset the variable")
    if len(tokens) > TOKENS_MAX:
        raise SettingsError(f"{variable}: expected at most {TOKENS_MAX} tokens in {path}, got {len(tokens)}")
    for number, token in tokens:
        if len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() or any(c.isspace() for c in token):
            raise SettingsError(
                f"{variable}: {path}, line {number}: expected at least {TOKEN_CHARACTERS_MIN} ASCII characters "
                "without spaces"
            )
    return tuple(hashlib.sha256(token.encode()).digest() for _, token in tokens)


class RateLimit:
    """Limits each caller to an average rate of calls or plans, with bursts of BURST_S seconds' worth, or of one call.

    This is the generic cell rate algorithm (ATM Forum, Traffic Management 4.0). It keeps one number per caller: the
    time at which its calls so far are paid off. A batch of pairs passes if the caller is not behind, and is paid later.
    """

    def __init__(self, rate_per_s: float, setting: str) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._setting = setting
        self._paid_at_s: LRUCache[str, float] = LRUCache(CALLERS_MAX)

    def check(self, caller: str, now_s: float) -> None:
        """Raise Overloaded, with the time to wait, while `caller` is behind. Counts nothing."""
        behind_s = self._paid_at_s.get(caller, now_s) - now_s - max(BURST_S - self._interval_s, 0.0)
        if behind_s > 1e-9:
            raise Overloaded(
                f"expected at most {1 / self._interval_s:g} a second; retry in {behind_s:.3f} s",
                bound=self._setting,
                retry_after_s=behind_s,
            )

    def charge(self, caller: str, count: int, now_s: float) -> None:
        """Count `count` calls or plans of `caller`, even if that puts it behind."""
        self._paid_at_s[caller] = max(self._paid_at_s.get(caller, now_s), now_s) + count * self._interval_s


class Admitted:
    """An admitted call, which has been charged for one plan or call."""

    def __init__(self, rate: RateLimit | None, caller: str) -> None:
        self._rate = rate
        self._caller = caller

    def charge_message(self) -> None:
        """Charge for a further message of a stream. Raises Overloaded while the caller is behind."""
        if self._rate is not None:
            now_s = time.monotonic()
            self._rate.check(self._caller, now_s)
            self._rate.charge(self._caller, 1, now_s)

    def charge(self, count: int) -> None:
        """Charge for `count` further plans: those of a batch after it was validated."""
        if self._rate is not None:
            self._rate.charge(self._caller, count, time.monotonic())


class Admission:
    """Admits calls: it checks credentials, then the bound on concurrent calls of the kind, then the caller's rate.

    A refused call does not count.
    """

    def __init__(
        self,
        instruments: Instruments,
        bounds: Mapping[Kind, KindBounds],
        *,
        pairs_in_flight_max: int,
        token_digests: Sequence[bytes] = (),
        proxies: TrustedProxies = NO_PROXIES,
        processes: int = 1,
    ) -> None:
        """`bounds` and `pairs_in_flight_max` are the shares of this process; `processes` share the gateway's port."""
        self._instruments = instruments
        self._where = "in progress" if processes <= 1 else f"in progress in each of {processes} processes"
        self._bounds = dict(bounds)
        self._pairs_max = pairs_in_flight_max
        self._rates = {
            each.rate_setting: RateLimit(each.rate_per_s, each.rate_setting)
            for each in bounds.values()
            if each.rate_per_s > 0
        }
        self._digests = tuple(token_digests)
        self._proxies = proxies
        self.in_flight = dict.fromkeys(Kind, 0)
        """Calls in progress, by kind."""
        self.pairs_in_flight = 0
        """Pairs of all PlanMany calls in progress."""

    @contextlib.contextmanager
    def admit(self, context: Context, rpc: str, *, pairs: int = 0) -> Iterator[Admitted]:
        """Admit a call of `rpc` ("package.Service/Method"), and count it as in progress until the block is left.

        The call is charged for one plan or call; `Admitted.charge` charges for more. `pairs` (of a PlanMany) count
        toward a separate bound, in addition to the call itself. Raises Unauthenticated or Overloaded.
        """
        kind = KIND_OF[rpc]
        caller = self.authenticate(context)
        rate = self._rates.get(self._bounds[kind].rate_setting)
        now_s = time.monotonic()
        # All checks come before any counting, and there is no await between them: a call counts fully or not at all.
        self._check_places(kind, pairs)
        if rate is not None:
            try:
                rate.check(caller, now_s)
            except Overloaded:
                self._instruments.refused.add(1, {names.REASON: "rate", names.KIND: kind.value})
                raise
            rate.charge(caller, 1, now_s)
        self.in_flight[kind] += 1
        self.pairs_in_flight += pairs
        self._instruments.in_flight.add(1, {names.KIND: kind.value})
        try:
            yield Admitted(rate, caller)
        finally:
            self.in_flight[kind] -= 1
            self.pairs_in_flight -= pairs
            self._instruments.in_flight.add(-1, {names.KIND: kind.value})

    def _check_places(self, kind: Kind, pairs: int) -> None:
        bounds = self._bounds[kind]
        if self.in_flight[kind] >= bounds.in_flight_max:
            raise self._full(kind, "calls", bounds.in_flight_max, bounds.in_flight_setting)
        # A batch without others in progress is admitted whatever its size. Otherwise a bound below 10,000 would refuse
        # some batches for ever.
        if pairs and self.pairs_in_flight and self.pairs_in_flight + pairs > self._pairs_max:
            raise self._full(kind, "pairs", self._pairs_max, "gateway_pairs_in_flight_max")

    def _full(self, kind: Kind, what: str, bound: int, name: str) -> Overloaded:
        self._instruments.refused.add(1, {names.REASON: what, names.KIND: kind.value})
        return Overloaded(
            f"expected at most {bound} {what} of kind {kind.value!r} {self._where}; retry in {RETRY_AFTER_S} s",
            bound=name,
            retry_after_s=RETRY_AFTER_S,
        )

    def authenticate(self, context: Context) -> str:
        """Return a name for the caller: its token's digest, or without tokens its address. Raises Unauthenticated."""
        if not self._digests:
            return self._proxies.caller(context.peer(), context.invocation_metadata() or ()) if self._rates else ""
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
            raise Unauthenticated("expected a known bearer token, got another one")
        return digest.hex()
