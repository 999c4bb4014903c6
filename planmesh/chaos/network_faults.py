"""Network faults between two processes: delay, broken connections, and silence."""

from __future__ import annotations

from collections.abc import Callable

from planmesh.chaos.cutting_proxy import CuttingProxy
from planmesh.chaos.scenario import Fault, Stage


class Line(Fault):
    """Applies a fault to the proxy of a line (planmesh.chaos.mesh.LINES); healing clears it."""

    def __init__(self, line: str, harm: Callable[[CuttingProxy], None]) -> None:
        self._line = line
        self._harm = harm

    async def inject(self, stage: Stage) -> None:
        assert stage.mesh.proxies is not None, "the scenario must be declared as proxied"
        stage.mesh.proxies.change(self._line, self._harm)

    async def heal(self, stage: Stage) -> None:
        assert stage.mesh.proxies is not None
        stage.mesh.proxies.change(self._line, CuttingProxy.restore)

    async def restore(self, stage: Stage) -> None:
        await self.heal(stage)


def slow(delay_s: float) -> Callable[[CuttingProxy], None]:
    """Return a fault that delays all traffic by `delay_s` in each direction."""

    def harm(proxy: CuttingProxy) -> None:
        proxy.delay_s = delay_s

    return harm


def cut(proxy: CuttingProxy) -> None:
    """Break all connections, and refuse new ones."""
    proxy.refuses = True
    proxy.cut()


def silence(proxy: CuttingProxy) -> None:
    """Keep connections open but pass nothing, as a firewall does that has dropped its state."""
    proxy.silent = True
