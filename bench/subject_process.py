"""The process of one subject. It serves the benchmark's requests over a pipe, and does nothing else.

python -m bench.subject_process SUBJECT GRAPH FOLDER REQUEST_FD ANSWER_FD

A request is a line of JSON, {"do": ..., ...}. So is the answer; {"error": ...} reports a failure.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

from bench.graphs import open_graph
from bench.subject import CachingSubject, Subject, Unavailable, subject_kind


class Answering:
    """Serves the requests."""

    def __init__(self, subject: Subject, graph: str, folder: Path) -> None:
        self._subject = subject
        self._graph = graph
        self._folder = folder

    def prepare(self) -> dict[str, Any]:
        """Open the graph, and start what the subject needs."""
        self._subject.prepare(open_graph(self._graph), self._folder)
        return {}

    def load(self) -> dict[str, Any]:
        """Load the graph, and return the time."""
        begun_s = time.perf_counter()
        self._subject.load()
        took_s = time.perf_counter() - begun_s
        gc.collect()
        gc.freeze()  # so that no query is charged for a collection over millions of loaded objects
        return {"load_s": took_s, "stages_s": getattr(self._subject, "stages_s", {})}

    def query(self, pairs: list[list[int]], cached: bool, stop_after_s: float) -> dict[str, Any]:
        """Query the pairs in order, as many as begin within the time."""
        ask = self._subject.query
        if cached:
            caching = cast(CachingSubject, self._subject)
            ask = caching.query_cached
            for start, goal in pairs:
                caching.fill_cache(start, goal)
        took_ms: list[float] = []
        costs: list[float | None] = []
        stop_s = time.perf_counter() + stop_after_s
        for start, goal in pairs:
            begun_s = time.perf_counter()
            if begun_s > stop_s:
                break
            cost = ask(start, goal)
            took_ms.append((time.perf_counter() - begun_s) * 1e3)
            costs.append(float(cost) if math.isfinite(cost) else None)
        return {"ms": took_ms, "costs": costs}

    def measure(self, what: str, options: dict[str, Any]) -> dict[str, Any]:
        """Measure the mesh as a whole."""
        return cast(CachingSubject, self._subject).measure_mesh(what, options)

    def close(self) -> dict[str, Any]:
        """Close the subject."""
        self._subject.close()
        return {}


def main() -> int:
    """Serve requests until the pipe closes or `close` is requested."""
    name, graph, folder, request_fd, answer_fd = sys.argv[1:]
    answering = Answering(subject_kind(name).make(), graph, Path(folder))
    closed = False
    with os.fdopen(int(request_fd)) as requests, os.fdopen(int(answer_fd), "w", buffering=1) as answers:
        try:
            for line in requests:
                request = json.loads(line)
                do = request.pop("do")
                try:
                    answer = getattr(answering, do)(**request)
                except Unavailable as error:
                    answer = {"unavailable": str(error)}
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                answers.write(json.dumps(answer) + "\n")
                if do == "close":
                    closed = True
                    return 0
        finally:
            if not closed:
                answering.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
