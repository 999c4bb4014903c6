"""The proxies between a mesh's processes, on their own event loop, so that neither load nor supervisor slows them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from planmesh.chaos.cutting_proxy import CuttingProxy


class Proxies:
    """One proxy a line, by the line's name; use it as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._of_line: dict[str, CuttingProxy] = {}

    def __enter__(self) -> Proxies:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in self._of_line.values():
            self._run(proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def port(self, line: str, target: str) -> int:
        """Port of the proxy of a line, which from now on leads to `target` (`host:port` or `unix:/path`)."""
        proxy = self._of_line.get(line)
        if proxy is None:
            proxy = self._of_line[line] = CuttingProxy()
            self._run(proxy.start())
        proxy.target = target
        return proxy.port

    @property
    def lines(self) -> list[str]:
        """Names of all lines."""
        return list(self._of_line)

    def change(self, line: str, do: Callable[[CuttingProxy], None]) -> None:
        """Do something to the proxy of a line; returns when it is done."""
        proxy = self._of_line[line]

        async def on_its_loop() -> None:
            do(proxy)

        self._run(on_its_loop())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()
