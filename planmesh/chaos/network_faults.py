"""A network between two processes that is slow, drops connections, or swallows everything."""

from __future__ import annotations

from collections.abc import Callable

from planmesh.chaos.cutting_proxy import CuttingProxy
from planmesh.chaos.scenario import Fault, Stage


class Line(Fault):
    """Does something to the proxy of a line (planmesh.chaos.mesh.LINES) and takes it back."""

    def __init__(self, line: str, harm: Callable[[CuttingProxy], None]) -> None:
        self._line = line
        self._harm = harm

    async def inject(self, stage: Stage) -> None:
        assert stage.mesh.proxies is not None, "the scenario has to be declared as proxied"
        stage.mesh.proxies.change(self._line, self._harm)

    async def heal(self, stage: Stage) -> None:
        assert stage.mesh.proxies is not None
        stage.mesh.proxies.change(self._line, CuttingProxy.restore)

    async def restore(self, stage: Stage) -> None:
        await self.heal(stage)


def slow(delay_s: float) -> Callable[[CuttingProxy], None]:
    """Everything takes so much longer, each way."""

    def harm(proxy: CuttingProxy) -> None:
        proxy.delay_s = delay_s

    return harm


def cut(proxy: CuttingProxy) -> None:
    """All connections break, and new ones are refused."""
    proxy.refuses = True
    proxy.cut()


def silence(proxy: CuttingProxy) -> None:
    """Connections stand, and nothing passes, as when a firewall forgets them."""
    proxy.silent = True
