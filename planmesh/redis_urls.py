"""URLs of one or several Redis servers, as settings and commands name them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr

SCHEMES: Final = ("redis://", "rediss://", "unix://")


def read_redis_urls(text: str) -> tuple[str, ...]:
    """Return the URLs in a list separated by commas.

    Raises ValueError, without any URL, since those contain passwords.
    """
    urls = tuple(url.strip() for url in text.split(","))
    for number, url in enumerate(urls, 1):
        if not url.startswith(SCHEMES):
            raise ValueError(
                "expected URLs such as redis://:password@host:6379/0, separated by commas (%2C in a password), got "
                f"something else as number {number} of {len(urls)}"
            )
        if url in urls[: number - 1]:
            raise ValueError(
                f"expected different servers, got the same one as numbers {urls.index(url) + 1} and {number}"
            )
    return urls


def _checked(value: SecretStr) -> SecretStr:
    read_redis_urls(value.get_secret_value())
    return value


RedisUrls = Annotated[SecretStr, AfterValidator(_checked)]
"""A list of URLs in settings."""
