from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, cast

import pytest

from planmesh.errors import Overloaded, Unauthenticated
from planmesh.settings import SettingsError
from planmesh.telemetry.tracing import make_telemetry
from services.gateway.admission import Admission, RateLimit, read_tokens

TOKEN = "correct-horse-battery"
OTHER = "staple-staple-staple"


class Context:
    """Only what admission asks of a call's context."""

    def __init__(self, *metadata: tuple[str, str | bytes], peer: str = "ipv4:10.0.0.1:4711") -> None:
        self._metadata = metadata
        self._peer = peer

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    def peer(self) -> str:
        return self._peer


def context(*metadata: tuple[str, str | bytes], peer: str = "ipv4:10.0.0.1:4711") -> Any:
    return cast(Any, Context(*metadata, peer=peer))


def admission(**options: Any) -> Admission:
    bounds = {"in_flight_max": 2, "pairs_in_flight_max": 100}
    return Admission(make_telemetry("test").instruments, **{**bounds, **options})


def test_calls_under_way_are_bounded() -> None:
    door = admission()
    with door.admit(context()), door.admit(context()):
        assert door.in_flight == 2
        with pytest.raises(Overloaded, match="2 calls") as caught, door.admit(context()):
            raise AssertionError
        assert caught.value.metadata["bound"] == "gateway_in_flight_max"
        assert caught.value.retry_after_s > 0
    assert door.in_flight == 0
    with door.admit(context()):
        assert door.in_flight == 1


def test_a_place_is_given_back_by_a_call_that_fails() -> None:
    door = admission()
    with pytest.raises(ZeroDivisionError), door.admit(context(), pairs=5):
        raise ZeroDivisionError
    assert (door.in_flight, door.pairs_in_flight) == (0, 0)


def test_pairs_under_way_are_bounded_but_one_batch_always_passes() -> None:
    door = admission(in_flight_max=10)
    with door.admit(context(), pairs=1_000):
        with pytest.raises(Overloaded, match="100 pairs"), door.admit(context(), pairs=1):
            raise AssertionError
        with door.admit(context()):
            assert door.in_flight == 2
    with door.admit(context(), pairs=60), door.admit(context(), pairs=40):
        assert door.pairs_in_flight == 100


def test_the_rate_lets_bursts_through_and_then_so_many_a_second() -> None:
    rate = RateLimit(10)
    for _ in range(10):
        rate.take("a", 1, 100.0)
    with pytest.raises(Overloaded) as caught:
        rate.take("a", 1, 100.0)
    assert caught.value.retry_after_s == pytest.approx(0.1)
    rate.take("b", 1, 100.0)
    rate.take("a", 1, 100.1)
    with pytest.raises(Overloaded):
        rate.take("a", 1, 100.1)
    for _ in range(10):
        rate.take("a", 1, 200.0)


def test_a_batch_passes_and_is_paid_off_after() -> None:
    rate = RateLimit(10)
    rate.take("a", 100, 0.0)
    with pytest.raises(Overloaded) as caught:
        rate.take("a", 1, 0.0)
    assert caught.value.retry_after_s == pytest.approx(9.1)
    rate.take("a", 1, 9.2)


def test_callers_are_told_apart_by_host_or_token() -> None:
    door = admission(in_flight_max=10, rate_per_s=1.0)
    with door.admit(context(peer="ipv4:10.0.0.1:1"), plans=1):
        pass
    with pytest.raises(Overloaded), door.admit(context(peer="ipv4:10.0.0.1:2"), plans=1):
        raise AssertionError
    with door.admit(context(peer="ipv6:[::1]:1"), plans=1), door.admit(context(peer="unix:"), plans=1):
        pass
    # What is no plan is not counted.
    with door.admit(context(peer="ipv4:10.0.0.1:2")):
        pass


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
def test_without_a_known_token_nobody_is_let_in(tmp_path: Path, metadata: Any) -> None:
    path = tmp_path / "tokens"
    path.write_text(TOKEN)
    door = admission(token_digests=read_tokens(path))
    with pytest.raises(Unauthenticated) as caught, door.admit(context(*metadata)):
        raise AssertionError
    assert TOKEN not in caught.value.message
    assert "wrong-wrong" not in caught.value.message
    assert door.in_flight == 0


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
