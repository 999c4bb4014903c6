"""Parses and checks the URLs of stores, opens stores, and keeps passwords out of every message.

::

    sqlite:///graph.db                        a file: a relative path, or with four slashes an absolute one
    neo4j://user:password@host:7687/database  also bolt://; +s and +ssc for TLS
    redis://:password@host:6379/0?graph=prod  also redis+cluster:// and rediss://
    hybrid://?front=redis%3A...&back=neo4j%3A...   two URLs, percent-encoded
    gremlin://host:8182/g                     gremlin+wss:// for TLS

Options are in the query. Each store has a model of its own options (`StoreOptions`), and an unknown option is an error.
Instead of the URL, a file that `password_file` names may hold the password, so that no list of processes shows it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final, Protocol, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError
from rapidfuzz import process as rapidfuzz_process

from planmesh.errors import InvalidRequest
from planmesh.store.protocol import ROWS_PER_CALL_MAX, GraphStore

SCHEMES: Final = {
    "sqlite": "sqlite",
    "neo4j": "neo4j",
    "neo4j+s": "neo4j",
    "neo4j+ssc": "neo4j",
    "bolt": "neo4j",
    "bolt+s": "neo4j",
    "bolt+ssc": "neo4j",
    "redis": "redis",
    "rediss": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "hybrid": "hybrid",
    "gremlin": "gremlin",
    "gremlin+wss": "gremlin",
}
"""Each scheme, and the kind of store that it opens."""

SECRET_FILE: Final = "password_file"  # noqa: S105 - the name of an option
"""The option that names a file with the password."""

SECRET_FILE_BYTES_MAX: Final = 4_096
SECRET_WORDS: Final = ("password", "secret", "token")
NESTED: Final = ("front", "back")
"""Options whose values are URLs themselves."""

NEAR_SCORE_MIN: Final = 60.0
"""Similarity, in percent, below which no option is suggested."""

HIDDEN: Final = "***"

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
"""Name of a property, label or type. Query languages take no parameters for these, so only safe names are allowed."""


class StoreOptions(BaseModel):
    """Options that every store has; each store's own model adds to them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_rows: int = Field(8_192, ge=1, le=ROWS_PER_CALL_MAX, description="Most rows of one write or read.")
    timeout_s: float = Field(30.0, gt=0, le=3_600, description="Longest duration of one request to the store.")
    connect_timeout_s: float = Field(5.0, gt=0, le=300, description="Longest time to open a connection.")
    usd_per_hour: float = Field(0.0, ge=0, le=1e6, description="Price of the store, for its metric; 0: unknown.")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed URL; `text` is the URL without user, password and other secrets, for messages."""

    scheme: str
    kind: str
    host: str
    port: int | None
    user: str
    password: SecretStr
    path: str
    query: dict[str, str]
    text: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def hide(self, message: str) -> str:
        """Return a message, for example of a driver, with every secret of this URL hidden."""
        for secret in self.secrets:
            message = message.replace(secret, HIDDEN)
        return message


Options = TypeVar("Options", bound=StoreOptions)


def parse_store_url(url: str) -> StoreUrl:
    """Parse a URL. Raises InvalidRequest when it is not a store's, or its password file cannot be read."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in SCHEMES:
        raise InvalidRequest(
            f"expected the URL of a store, {', '.join(f'{known}://' for known in SCHEMES)}; got "
            + (f"{scheme[:20]!r}://" if scheme else "a text without ://"),
            field="store",
        )
    try:
        split, pairs = _split(url)
        port = split.port
    except ValueError:
        # The parser's message would quote the URL, and with it the password.
        raise InvalidRequest(
            f"expected {scheme}://user:password@host:port/path?option=value; this URL cannot be parsed "
            "(write characters such as / : @ in a password as %2F %3A %40)",
            field="store",
        ) from None
    query = _query(pairs, scheme)
    password = _password(split.password, query, scheme)
    return StoreUrl(
        scheme=scheme,
        kind=SCHEMES[scheme],
        host=split.hostname or "",
        port=port,
        user=unquote(split.username or ""),
        password=SecretStr(password),
        path=unquote(split.path),
        query=query,
        text=redacted(url),
        secrets=_forms([password, *_nested_secrets(query)]),
    )


def redacted(url: str) -> str:
    """Return a URL without user and password and with other secrets hidden, for messages, traces and logs."""
    try:
        split, pairs = _split(url)
    except ValueError:
        return f"{url.partition('://')[0][:20]}://{HIDDEN}"
    shown = []
    for name, value in pairs:
        if name in NESTED:
            shown.append((name, redacted(value)))
        elif any(word in name for word in SECRET_WORDS) and name != SECRET_FILE:
            shown.append((name, HIDDEN))
        else:
            shown.append((name, value))
    query = f"?{urlencode(shown, safe='/:*,')}" if shown else ""
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}{query}"


def read_options(url: StoreUrl, model: type[Options], **defaults: object) -> Options:
    """Read the options of a URL. InvalidRequest names an unknown option with the nearest known one, or a bad value."""
    try:
        return model.model_validate({**defaults, **{k: v for k, v in url.query.items() if k != SECRET_FILE}})
    except ValidationError as error:
        problems = []
        for item in error.errors(include_input=False, include_url=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            if item["type"] == "extra_forbidden":
                near = rapidfuzz_process.extractOne(name, sorted(model.model_fields), score_cutoff=NEAR_SCORE_MIN)
                hint = f"did you mean {near[0]}?" if near else f"known options: {', '.join(sorted(model.model_fields))}"
                problems.append(f"{name[:40]!r} is not an option of {url.scheme}://; {hint}")
            else:
                problems.append(f"{name}: {item['msg']}")
        raise InvalidRequest(f"{url.text}: {'; '.join(problems)}", field="store") from None


async def open_store(url: str) -> GraphStore:
    """Open the store of a URL. On return it has answered, accepted our credentials, and has its tables and indexes.

    Raises InvalidRequest for a bad URL or a driver that is not installed, and what GraphStore raises.
    """
    return await open_parsed(parse_store_url(url))


async def open_parsed(location: StoreUrl) -> GraphStore:
    """Open the store of a parsed URL; see `open_store`.

    Each kind of store is a module of this package with a function `open_url(location)`. It is imported only here, so
    users need no drivers of databases that they do not use.
    """
    try:
        module = import_module(f"planmesh.store.{location.kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("planmesh"):
            raise
        raise InvalidRequest(
            f"{location.scheme}:// needs the Python package {error.name!r}: pip install 'planmesh[{location.kind}]'",
            field="store",
        ) from error
    open_url: Callable[[StoreUrl], Awaitable[GraphStore]] = module.open_url
    return await open_url(location)


class Preparing(Protocol):
    """A store that was constructed but is not connected yet."""

    async def prepare(self) -> None:
        """Connect, and create what the store needs."""
        ...

    async def close(self) -> None:
        """Release the store's resources."""
        ...


S = TypeVar("S", bound=Preparing)


async def prepared(store: S) -> S:
    """Prepare a store and return it; close it when that fails."""
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


def _split(url: str) -> tuple[SplitResult, list[tuple[str, str]]]:
    """Return the split URL and the options in its query. Raises ValueError, which quotes a malformed URL."""
    split = urlsplit(url)
    pairs = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query), max_num_fields=64)
    if split.fragment or (split.netloc and "@" in split.path + split.query):
        raise ValueError("a password with an unencoded / ? or # splits the URL in the wrong places")
    return split, pairs


def _query(pairs: list[tuple[str, str]], scheme: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in pairs:
        if name in query:
            raise InvalidRequest(f"{scheme}://: the option {name[:40]!r} occurs twice in the URL", field="store")
        query[name] = value
    return query


def _password(given: str | None, query: dict[str, str], scheme: str) -> str:
    named = query.get(SECRET_FILE)
    if named is None:
        return unquote(given or "")
    if given:
        raise InvalidRequest(f"{scheme}://: expected a password or a {SECRET_FILE}, got both", field="store")
    try:
        with Path(named).open("rb") as file:
            content = file.read(SECRET_FILE_BYTES_MAX + 1)
        password = content.decode().rstrip("\r\n")
    except OSError as error:
        raise InvalidRequest(f"{SECRET_FILE} {named}: {error.strerror or error}", field="store") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"{SECRET_FILE} {named}: expected UTF-8", field="store") from None
    if not password or len(content) > SECRET_FILE_BYTES_MAX:
        raise InvalidRequest(
            f"{SECRET_FILE} {named}: expected one line of 1 to {SECRET_FILE_BYTES_MAX} bytes", field="store"
        )
    return password


def _nested_secrets(query: dict[str, str]) -> list[str]:
    """Return the secrets in the options: those of nested URLs, and the values of secret options."""
    found = [
        value
        for name, value in query.items()
        if value and name != SECRET_FILE and any(word in name for word in SECRET_WORDS)
    ]
    for name in NESTED:
        if name in query:
            found += parse_store_url(query[name]).secrets
    return found


def _forms(secrets: list[str]) -> tuple[str, ...]:
    """Return each secret, plain and URL-encoded, the longest first, so that none is hidden only in part."""
    forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote(secret))}
    return tuple(sorted(forms, key=len, reverse=True))
