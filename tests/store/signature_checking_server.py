"""Imitates Neptune with IAM: it opens a WebSocket only for a signed request, then serves Gremlin.

It computes the signature (AWS Signature Version 4) from the received request, with the standard library and not with
the code that signed. Accepted connections are forwarded to a real Gremlin server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

AGE_S_MAX = 300.0


class SignatureCheckingServer:
    """Knows one key, and counts the requests that it accepted and refused."""

    def __init__(self, target: str, access_key: str, secret_key: str, region: str) -> None:
        self._target = target
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.signed_headers: list[str] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        complaint = self._complaint(request)
        if complaint:
            self.refused.append(complaint)
            return web.json_response({"code": "AccessDeniedException", "detailedMessage": complaint}, status=403)
        self.accepted.append(request.headers["Authorization"])
        here = web.WebSocketResponse(max_msg_size=0)
        await here.prepare(request)
        async with aiohttp.ClientSession() as session, session.ws_connect(self._target, max_msg_size=0) as there:
            await asyncio.wait(
                [asyncio.create_task(_forward(here, there)), asyncio.create_task(_forward(there, here))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        await here.close()
        return here

    def _complaint(self, request: web.Request) -> str:
        """Return the fault of the signature, "" when it is valid."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            return "Missing Authentication Token"
        fields = dict(field.strip().split("=", 1) for field in rest.split(","))
        access_key, day, region, service, ending = fields["Credential"].split("/")
        if (access_key, region, service, ending) != (self._access_key, self._region, "neptune-db", "aws4_request"):
            return f"Credential should be scoped to a valid key, region and service, not {region}/{service}"
        time = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((datetime.now(UTC) - time).total_seconds()) > AGE_S_MAX or time.strftime("%Y%m%d") != day:
            return "Signature expired"
        names = fields["SignedHeaders"].split(";")
        if "host" not in names or "x-amz-date" not in names:
            return "'Host' and 'X-Amz-Date' must be signed"
        if "X-Amz-Security-Token" in request.headers and "x-amz-security-token" not in names:
            return "the session token must be signed"
        self.signed_headers = names
        headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
        empty = hashlib.sha256(b"").hexdigest()
        canonical = "\n".join(["GET", request.path, request.query_string, headers, fields["SignedHeaders"], empty])
        scope = f"{day}/{region}/{service}/aws4_request"
        to_sign = "\n".join(
            [scheme, request.headers["X-Amz-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        key = f"AWS4{self._secret_key}".encode()
        for step in (day, region, service, "aws4_request"):
            key = hmac.digest(key, step.encode(), "sha256")
        expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
        if not hmac.compare_digest(expected, fields["Signature"]):
            return "The request signature we calculated does not match the signature you provided"
        return ""


async def _forward(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        await target.send_bytes(message.data)


@asynccontextmanager
async def signature_checking_server(
    target: str, access_key: str, secret_key: str, region: str
) -> AsyncIterator[SignatureCheckingServer]:
    checking = SignatureCheckingServer(target, access_key, secret_key, region)
    application = web.Application()
    application.router.add_get("/gremlin", checking.handle)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    checking.port = runner.addresses[0][1]
    try:
        yield checking
    finally:
        await runner.cleanup()
