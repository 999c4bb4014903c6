"""Run in a container of the cluster: queries a hybrid store for paths, as a user's program would, with metrics."""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import quote

import numpy as np

from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.settings import PartitionSettings, read_settings
from planmesh.store.metered import MeteredStore, price_of
from planmesh.store.urls import open_store, parse_store_url
from planmesh.telemetry.tracing import setup

PAUSE_S = 0.1


async def main(seconds: float) -> None:
    """Query for `seconds`."""
    settings = read_settings(PartitionSettings)
    telemetry = setup("planmesh-store-user", settings)
    front, back = f"{settings.redis_servers[0]}?graph=watched", "sqlite:////tmp/watched.db"
    url = f"hybrid://?front={quote(front, safe='')}&back={quote(back, safe='')}&usd_per_hour=0.5"
    store = MeteredStore(await open_store(url), telemetry.instruments, price_of(parse_store_url(url)))
    try:
        async with store.replace() as replacement:
            await replacement.add_nodes(NodeRows(["a", "b"], ["", ""], ["", ""]))
            await replacement.add_edges(EdgeRows(["a"], ["b"], np.array([1.5])))
            await replacement.commit()
        for _ in range(round(seconds / PAUSE_S)):
            await store.shortest_path("a", "b")
            await asyncio.sleep(PAUSE_S)
    finally:
        await store.close()
        telemetry.shutdown()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
