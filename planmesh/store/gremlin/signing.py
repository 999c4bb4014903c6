"""AWS Signature Version 4, by botocore, for a Neptune cluster with IAM authentication."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from planmesh.errors import InvalidRequest, StoreCredentials
from planmesh.store.urls import StoreUrl

SERVICE: Final = "neptune-db"


class RequestSigner:
    """Signs the request that opens a WebSocket. A signature is valid for five minutes, so each connection gets its own.

    The credentials are those of the environment, found as every AWS tool finds them. botocore renews them when they
    expire.
    """

    def __init__(self, location: StoreUrl, region: str) -> None:
        try:
            from botocore.session import Session  # noqa: PLC0415 - needed only with iam=true
        except ModuleNotFoundError as error:
            raise InvalidRequest(
                "iam=true needs the Python package 'botocore': pip install 'planmesh[neptune]'", field="store"
            ) from error
        self._location = location
        self._session: Any = Session()
        self._region = region or str(self._session.get_config_variable("region") or "")
        if not self._region:
            raise InvalidRequest(
                f"{location.text}: expected the cluster's region as aws_region=… or AWS_DEFAULT_REGION, got none",
                field="store",
            )

    async def headers(self, url: str) -> dict[str, str]:
        """Return the headers that sign a GET of `url`. Raises StoreCredentials when there are no credentials."""
        # Reading credentials may take file or network access.
        return await asyncio.to_thread(self._sign, url)

    def _sign(self, url: str) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                raise StoreCredentials(
                    "expected AWS credentials in the environment (AWS_ACCESS_KEY_ID, a profile, a role), found none",
                    store=self._location.text,
                )
            request = AWSRequest(method="GET", url=url)
            SigV4Auth(credentials.get_frozen_credentials(), SERVICE, self._region).add_auth(request)
        except BotoCoreError as error:
            raise StoreCredentials(
                f"no AWS credentials to sign with: {type(error).__name__}", store=self._location.text
            ) from None
        return {str(name): str(value) for name, value in request.headers.items()}
