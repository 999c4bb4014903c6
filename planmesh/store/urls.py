"""Stores by URL: parsed, checked, and never printed with a password.

::

    sqlite:///graph.db                        a file, here or (four slashes) by its absolute path
    neo4j://user:password@host:7687/database  bolt:// too; +s and +ssc for TLS
    redis://:password@host:6379/0?graph=prod  redis+cluster:// and rediss:// too
    hybrid://?front=redis%3A...&back=neo4j%3A...   two URLs, percent-encoded
    gremlin://host:8182/g                     gremlin+wss:// for TLS

Options stand in the query; each store has its own model of them (`StoreOptions`), and an unknown one is an error. A
password may stand in a file instead, which `password_file` names, so that no list of processes shows it.
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
"""Every scheme, and the kind of store that it opens."""

SECRET_FILE: Final = "password_file"  # noqa: S105 - the name of an option
"""The option that names a file with the password in it."""

SECRET_FILE_BYTES_MAX: Final = 4_096
SECRET_WORDS: Final = ("password", "secret", "token")
NESTED: Final = ("front", "back")
"""Options that hold a URL themselves."""

NEAR_SCORE_MIN: Final = 60.0
"""Likeness in percent below which no option is suggested."""

HIDDEN: Final = "***"

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
"""Name of a property, label or type: where a query language takes no parameter for it, only such a one is written."""


class StoreOptions(BaseModel):
    """Options that every store has; a store's own model adds to them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_rows: int = Field(8_192, ge=1, le=ROWS_PER_CALL_MAX, description="Rows of one write or read to the store.")
    timeout_s: float = Field(30.0, gt=0, le=3_600, description="Longest that one request to the store may take.")
    connect_timeout_s: float = Field(5.0, gt=0, le=300, description="Longest that making a connection may take.")
    usd_per_hour: float = Field(0.0, ge=0, le=1e6, description="What the store costs, for its metric; 0: unknown.")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL in its parts; `text` is it without user, password and other secrets, for messages."""

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
        """Return a message (of a driver, say) without any secret of this URL in it."""
        for secret in self.secrets:
            message = message.replace(secret, HIDDEN)
        return message


Options = TypeVar("Options", bound=StoreOptions)


def parse_store_url(url: str) -> StoreUrl:
    """Take a URL apart; InvalidRequest when it is none of a store, or its password file cannot be read."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in SCHEMES:
        raise InvalidRequest(
            f"expected the URL of a store, {', '.join(f'{known}://' for known in SCHEMES)}; got "
            + (f"{scheme[:20]!r}://" if scheme else "a text without ://"),
            field="store",
        )
    try:
        parts, pairs = _split(url)
        port = parts.port
    except ValueError:
        # The parser's message would quote the URL, and with it the password.
        raise InvalidRequest(
            f"expected {scheme}://user:password@host:port/path?option=value; this URL cannot be taken apart "
            "(characters such as / : @ in a password are written %2F %3A %40)",
            field="store",
        ) from None
    query = _query(pairs, scheme)
    password = _password(parts.password, query, scheme)
    return StoreUrl(
        scheme=scheme,
        kind=SCHEMES[scheme],
        host=parts.hostname or "",
        port=port,
        user=unquote(parts.username or ""),
        password=SecretStr(password),
        path=unquote(parts.path),
        query=query,
        text=redacted(url),
        secrets=_forms([password, *_nested_secrets(query)]),
    )


def redacted(url: str) -> str:
    """Return a URL without user and password, and with other secrets hidden, for messages, traces and logs."""
    try:
        parts, pairs = _split(url)
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
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def read_options(url: StoreUrl, model: type[Options], **defaults: object) -> Options:
    """Read the options of a URL; InvalidRequest names one that is unknown or has a bad value, and the nearest known."""
    try:
        return model.model_validate({**defaults, **{k: v for k, v in url.query.items() if k != SECRET_FILE}})
    except ValidationError as error:
        problems = []
        for item in error.errors(include_input=False, include_url=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            if item["type"] == "extra_forbidden":
                near = rapidfuzz_process.extractOne(name, sorted(model.model_fields), score_cutoff=NEAR_SCORE_MIN)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(model.model_fields))}"
                problems.append(f"{name[:40]!r} is no option of {url.scheme}://; {hint}")
            else:
                problems.append(f"{name}: {item['msg']}")
        raise InvalidRequest(f"{url.text}: {'; '.join(problems)}", field="store") from None


async def open_store(url: str) -> GraphStore:
    """Open the store of a URL: it answers, our credentials are good, and what it needs (tables, indexes) is there.

    Raises InvalidRequest for a bad URL or a driver that is not installed, and what GraphStore raises.
    """
    return await open_parsed(parse_store_url(url))


async def open_parsed(location: StoreUrl) -> GraphStore:
    """Open the store of a URL that is parsed already; see `open_store`.

    Each kind of store is a module of this package with a function `open_url(location)`; it is imported only here, so
    that nobody needs the drivers of databases that they do not use.
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
    """A store that was made and has not been connected yet."""

    async def prepare(self) -> None:
        """Connect, and create what the store needs."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


S = TypeVar("S", bound=Preparing)


async def prepared(store: S) -> S:
    """Return a store that is ready for use; when it does not become so, it is closed."""
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


def _split(url: str) -> tuple[SplitResult, list[tuple[str, str]]]:
    """Return the parts of a URL and the options in its query; ValueError, which quotes it, when it has no such form."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=64)
    if parts.fragment or (parts.netloc and "@" in parts.path + parts.query):
        raise ValueError("a password with a / ? or # in it, not encoded, made the URL fall apart in the wrong places")
    return parts, pairs


def _query(pairs: list[tuple[str, str]], scheme: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in pairs:
        if name in query:
            raise InvalidRequest(f"{scheme}://: the option {name[:40]!r} stands twice in the URL", field="store")
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
    """Return the secrets in the options: those of nested URLs, and values of options that are secrets."""
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
    """Return each secret as it is and as a URL has it, the longest first, so that none is hidden by halves."""
    forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote(secret))}
    return tuple(sorted(forms, key=len, reverse=True))
