from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from planmesh.errors import InvalidRequest
from planmesh.store.hybrid import HybridOptions
from planmesh.store.redis import RedisOptions
from planmesh.store.sqlite import SqliteOptions
from planmesh.store.urls import SCHEMES, StoreOptions, open_store, parse_store_url, read_options, redacted
from tests.conftest import ROOT

SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=6, max_size=30)


def test_the_fields_of_a_url() -> None:
    url = parse_store_url("neo4j+s://ann:s%40crt%2F@db.example:7687/infra?batch_rows=100")
    assert (url.scheme, url.kind, url.host, url.port) == ("neo4j+s", "neo4j", "db.example", 7687)
    assert (url.user, url.password.get_secret_value(), url.path) == ("ann", "s@crt/", "/infra")
    assert url.query == {"batch_rows": "100"}
    assert url.text == "neo4j+s://db.example:7687/infra?batch_rows=100"
    assert "s@crt" not in repr(url)
    assert "s%40crt" not in repr(url)


def test_paths_of_files() -> None:
    assert parse_store_url("sqlite:///graph.db").path == "/graph.db"
    assert parse_store_url("sqlite:////data/me@home/graph.db").path == "//data/me@home/graph.db"
    assert parse_store_url("sqlite:////data/me@home/graph.db").text == "sqlite:////data/me@home/graph.db"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("graph.json", "without ://"),
        ("mysql://h/x", "expected the URL of a store, sqlite://"),
        ("redis://:pa/xyzzy@host", "cannot be parsed"),
        ("redis://:12/xyzzy@host", "cannot be parsed"),
        ("redis://:pa?xyzzy@host", "cannot be parsed"),
        ("redis://:pa#xyzzy@host", "cannot be parsed"),
        ("redis://host:99999", "cannot be parsed"),
        ("redis://host?graph=a&graph=b", "'graph' occurs twice"),
        ("redis://host?graph", "cannot be parsed"),
    ],
)
def test_invalid_urls_are_refused(url: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        parse_store_url(url)
    assert "xyzzy" not in caught.value.message
    assert "xyzzy" not in redacted(url)


@given(password=SECRETS)
def test_no_text_contains_a_password(password: str) -> None:
    """No message shows the password, even if it is not encoded."""
    raw = f"redis://:{password}@host:6379/0?graph=g"
    assert password not in redacted(raw)
    try:
        url = parse_store_url(raw)
    except InvalidRequest as error:
        assert password not in error.message  # noqa: PT017
    else:
        assert password not in repr(url)
        assert password not in url.text
        hidden = url.hide(f"the server said: AUTH {url.password.get_secret_value()} failed")
        assert url.password.get_secret_value() not in hidden


def test_nested_urls_hide_their_passwords() -> None:
    url = parse_store_url(
        "hybrid://?front=redis%3A%2F%2F%3Afrontsecret%40h1%3A6379&back=neo4j%3A%2F%2Fu%3Abacksecret%40h2%3A7687&hot=3"
    )
    assert url.query["front"] == "redis://:frontsecret@h1:6379"
    assert url.text == "hybrid://?front=redis://h1:6379&back=neo4j://h2:7687&hot=3"
    assert url.hide("a frontsecret, and a backsecret") == "a ***, and a ***"
    with pytest.raises(InvalidRequest, match="expected the URL of a store"):
        parse_store_url("hybrid://?front=what&back=neo4j%3A%2F%2Fh")


def test_a_password_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    url = parse_store_url(f"redis://host?password_file={file}")
    assert url.password.get_secret_value() == "from a file"
    assert "from a file" not in repr(url)
    assert url.hide("AUTH from a file") == "AUTH ***"
    with pytest.raises(InvalidRequest, match="got both"):
        parse_store_url(f"redis://:pw@host?password_file={file}")
    with pytest.raises(InvalidRequest, match="No such file"):
        parse_store_url(f"redis://host?password_file={tmp_path / 'none'}")
    file.write_text("")
    with pytest.raises(InvalidRequest, match="one line"):
        parse_store_url(f"redis://host?password_file={file}")


class Options(StoreOptions):
    ttl_s: float = Field(0.0, ge=0)


def test_options() -> None:
    url = parse_store_url("redis://host?ttl_s=2.5&batch_rows=10")
    assert read_options(url, Options) == Options(ttl_s=2.5, batch_rows=10)
    assert read_options(parse_store_url("redis://host"), Options, batch_rows=7).batch_rows == 7
    with pytest.raises(InvalidRequest, match=r"'tls_s' is not an option of redis://; did you mean ttl_s\?"):
        read_options(parse_store_url("redis://host?tls_s=1"), Options)
    with pytest.raises(InvalidRequest, match="batch_rows: Input should be less than or equal to"):
        read_options(parse_store_url("redis://host?batch_rows=1000000000"), Options)


@pytest.mark.parametrize("model", [StoreOptions, SqliteOptions, RedisOptions, HybridOptions])
def test_every_option_is_on_the_page(model: type[StoreOptions]) -> None:
    page = (ROOT / "docs" / "guides" / "stores.md").read_text()
    assert [name for name in model.model_fields if f"`{name}`" not in page and f"`{name}=" not in page] == []


def test_every_scheme_is_on_the_page() -> None:
    page = (ROOT / "docs" / "guides" / "stores.md").read_text()
    assert [kind for kind in set(SCHEMES.values()) - {"gremlin"} if f"`{kind}://" not in page] == []


async def test_an_unknown_store_is_not_opened() -> None:
    with pytest.raises(InvalidRequest):
        await open_store("nothing://here")
