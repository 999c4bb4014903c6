from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from planmesh.errors import Overloaded, Unauthenticated
from planmesh.settings import SettingsError
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry, make_telemetry
from services.gateway.admission import Admission, RateLimit, read_tokens
from services.gateway.forwarded import TrustedProxies
from services.gateway.kinds import Kind, KindBounds

TOKEN = "correct-horse-battery"
OTHER = "staple-staple-staple"


class Context:
    """The parts of a call's context that admission uses."""

    def __init__(self, *metadata: tuple[str, str | bytes], peer: str = "ipv4:10.0.0.1:4711") -> None:
        self._metadata = metadata
        self._peer = peer

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    def peer(self) -> str:
        return self._peer


def context(*metadata: tuple[str, str | bytes], peer: str = "ipv4:10.0.0.1:4711") -> Any:
    return cast(Any, Context(*metadata, peer=peer))


PLAN = "planmesh.v1.PlanService/Plan"
BATCH = "planmesh.v1.PlanService/PlanMany"
READ = "planmesh.v1.GraphService/GetGraph"
LOAD = "planmesh.v1.GraphService/LoadGraph"


def admission(
    *,
    in_flight_max: int = 2,
    pairs_in_flight_max: int = 100,
    rate_per_s: float = 0.0,
    telemetry: Telemetry | None = None,
    **options: Any,
) -> Admission:
    """Return an admission with the same bounds for every kind. Plans and batches share a rate."""
    bounds = {
        kind: KindBounds(
            in_flight_max, f"{kind}_places", rate_per_s, "plan_rate" if kind is Kind.BATCH else f"{kind}_rate"
        )
        for kind in Kind
    }
    instruments = (telemetry or make_telemetry("test")).instruments
    return Admission(instruments, bounds, pairs_in_flight_max=pairs_in_flight_max, **options)


def refused(door: Admission, rpc: str, where: Any = None, **options: Any) -> Overloaded:
    """Return the error with which a call is refused."""
    with pytest.raises(Overloaded) as caught, door.admit(where or context(), rpc, **options):
        raise AssertionError
    return caught.value


def passes(door: Admission, rpc: str, where: Any = None, *, further: int = 0, **options: Any) -> None:
    """Admit a call, which charges `further` plans, and end it."""
    with door.admit(where or context(), rpc, **options) as admitted:
        admitted.charge(further)


def test_concurrent_calls_are_bounded_by_kind() -> None:
    door = admission()
    with door.admit(context(), LOAD), door.admit(context(), LOAD):
        assert door.in_flight[Kind.LOAD] == 2
        error = refused(door, LOAD)
        assert "at most 2 calls of kind 'load'" in error.message
        assert error.metadata["bound"] == "load_places"
        assert error.retry_after_s > 0
        for rpc in (PLAN, BATCH, READ):
            passes(door, rpc)
    assert set(door.in_flight.values()) == {0}
    passes(door, LOAD)


def test_a_failing_call_no_longer_counts() -> None:
    door = admission()
    with pytest.raises(ZeroDivisionError), door.admit(context(), BATCH, pairs=5):
        raise ZeroDivisionError
    assert (door.in_flight[Kind.BATCH], door.pairs_in_flight) == (0, 0)


def test_concurrent_pairs_are_bounded_but_one_batch_always_passes() -> None:
    door = admission(in_flight_max=10)
    with door.admit(context(), BATCH, pairs=1_000):
        assert "100 pairs" in refused(door, BATCH, pairs=1).message
        passes(door, PLAN)
    with door.admit(context(), BATCH, pairs=60), door.admit(context(), BATCH, pairs=40):
        assert door.pairs_in_flight == 100


def test_the_rate_allows_a_burst_and_then_a_number_of_calls_a_second() -> None:
    rate = RateLimit(10, "setting")

    def take(caller: str, now_s: float) -> None:
        rate.check(caller, now_s)
        rate.charge(caller, 1, now_s)

    for _ in range(10):
        take("a", 100.0)
    with pytest.raises(Overloaded) as caught:
        take("a", 100.0)
    assert caught.value.retry_after_s == pytest.approx(0.1)
    assert caught.value.metadata["bound"] == "setting"
    take("b", 100.0)
    take("a", 100.1)
    with pytest.raises(Overloaded):
        take("a", 100.1)
    for _ in range(10):
        take("a", 200.0)


def test_below_one_a_second_each_call_waits_until_the_previous_is_paid_off() -> None:
    rate = RateLimit(0.1, "setting")
    rate.check("a", 0.0)
    rate.charge("a", 1, 0.0)
    with pytest.raises(Overloaded) as caught:
        rate.check("a", 4.0)
    assert caught.value.retry_after_s == pytest.approx(6.0)
    rate.check("a", 10.0)


def test_a_batch_passes_and_is_paid_off_later() -> None:
    rate = RateLimit(10, "setting")
    rate.charge("a", 100, 0.0)
    with pytest.raises(Overloaded) as caught:
        rate.check("a", 0.0)
    assert caught.value.retry_after_s == pytest.approx(9.1)
    rate.check("a", 9.2)


def test_a_batch_that_is_refused_costs_its_caller_nothing() -> None:
    door = admission(in_flight_max=10, rate_per_s=100.0)
    other = context(peer="ipv4:10.0.0.2:1")
    with door.admit(other, BATCH, pairs=100):
        for _ in range(200):
            assert refused(door, BATCH, pairs=10_000).metadata["bound"] == "gateway_pairs_in_flight_max"
        passes(door, PLAN)
    passes(door, BATCH, pairs=10_000, further=9_999)
    # Now its caller is charged, and a call that the rate refuses does not count as in progress.
    error = refused(door, PLAN)
    assert error.metadata["bound"] == "plan_rate"
    assert error.retry_after_s > 90
    assert set(door.in_flight.values()) == {0}


def test_every_kind_has_its_own_rate() -> None:
    door = admission(rate_per_s=1.0)
    for rpc in (PLAN, READ, LOAD):
        passes(door, rpc)
    for rpc, setting in ((PLAN, "plan_rate"), (BATCH, "plan_rate"), (READ, "read_rate"), (LOAD, "load_rate")):
        assert refused(door, rpc).metadata["bound"] == setting


def test_callers_are_distinguished_by_host_or_token() -> None:
    door = admission(in_flight_max=10, rate_per_s=1.0)
    passes(door, PLAN, context(peer="ipv4:10.0.0.1:1"))
    refused(door, PLAN, context(peer="ipv4:10.0.0.1:2"))
    for peer in ("ipv6:[::1]:1", "unix:", "ipv4:10.0.0.2:1"):
        passes(door, PLAN, context(peer=peer))


def test_behind_a_trusted_proxy_callers_are_distinguished_by_its_header() -> None:
    def forwarded(address: str, peer: str) -> Any:
        return context(("x-forwarded-for", address), peer=peer)

    door = admission(in_flight_max=10, rate_per_s=1.0, proxies=TrustedProxies.parse("10.0.0.0/8", 1))
    for address in ("203.0.113.1", "203.0.113.2"):
        passes(door, PLAN, forwarded(address, "ipv4:10.0.0.1:1"))
        refused(door, PLAN, forwarded(address, "ipv4:10.0.0.2:1"))
    # The header of any other peer is ignored.
    passes(door, PLAN, forwarded("203.0.113.3", "ipv4:192.0.2.1:1"))
    refused(door, PLAN, forwarded("203.0.113.4", "ipv4:192.0.2.1:1"))
    # Without the setting no header is trusted.
    plain = admission(in_flight_max=10, rate_per_s=1.0)
    passes(plain, PLAN, forwarded("203.0.113.1", "ipv4:10.0.0.1:1"))
    refused(plain, PLAN, forwarded("203.0.113.2", "ipv4:10.0.0.1:1"))


def test_calls_in_progress_and_refused_calls_are_measured_by_kind() -> None:
    reader = InMemoryMetricReader()
    door = admission(in_flight_max=1, telemetry=make_telemetry("test", metric_readers=[reader]))
    with door.admit(context(), LOAD):
        refused(door, LOAD)
        with door.admit(context(), BATCH, pairs=1):
            found = points(reader)
    assert found[names.METRIC_IN_FLIGHT, "load", None] == found[names.METRIC_IN_FLIGHT, "batch", None] == 1
    assert found[names.METRIC_REFUSED, "load", "calls"] == 1
    assert {value for (name, *_), value in points(reader).items() if name == names.METRIC_IN_FLIGHT} == {0}


def points(reader: InMemoryMetricReader) -> dict[tuple[str, Any, Any], Any]:
    data: Any = reader.get_metrics_data()
    return {
        (metric.name, point.attributes.get(names.KIND), point.attributes.get(names.REASON)): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# two of them\n{TOKEN}\n\n  {OTHER}  \n")
    path.chmod(stat.S_IRUSR)
    door = admission(token_digests=read_tokens(path))
    first = door.authenticate(context(("authorization", f"Bearer {TOKEN}")))
    assert first == door.authenticate(context(("authorization", f"bearer {TOKEN}".encode())))
    assert first != door.authenticate(context(("authorization", f"Bearer {OTHER}")))
    assert TOKEN not in first


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", f"Basic {TOKEN}"),),
        (("authorization", "Bearer wrong-wrong-wrong"),),
        (("authorization", "Bearer "),),
        (("authorization", TOKEN),),
        (("x", f"Bearer {TOKEN}"),),
    ],
)
def test_calls_without_a_known_token_are_refused(tmp_path: Path, metadata: Any) -> None:
    path = tmp_path / "tokens"
    path.write_text(TOKEN)
    door = admission(token_digests=read_tokens(path))
    with pytest.raises(Unauthenticated) as caught, door.admit(context(*metadata), PLAN):
        raise AssertionError
    assert TOKEN not in caught.value.message
    assert "wrong-wrong" not in caught.value.message
    assert set(door.in_flight.values()) == {0}


@pytest.mark.parametrize(
    "text", [None, "", "# nothing\n", "short\n", "with spaces in the token\n", "käfer-käfer-käfer\n"]
)
def test_a_bad_token_file_is_a_settings_error_that_repeats_no_token(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "tokens"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match="PLANMESH_GATEWAY_TOKEN_FILE") as caught:
        read_tokens(path)
    for word in ("short", "spaces in", "käfer"):
        assert word not in str(caught.value)


def test_a_refusal_says_that_the_bound_is_a_share() -> None:
    one = admission(in_flight_max=1, processes=4)
    with (
        one.admit(context(), PLAN),
        pytest.raises(Overloaded, match="at most 1 calls of kind 'plan' in progress in each of 4 processes; retry"),
        one.admit(context(), PLAN),
    ):
        pass
