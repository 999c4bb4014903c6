"""Arrays in the form that kernels take.

Numba compiles a kernel once for writable arrays and once more for read-only ones. We pass every array of a graph or an
index as a read-only view, so that one compilation serves arrays in memory and files mapped read-only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def read_only(array: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Return a read-only, C-contiguous view of `array`. Copies only if the dtype or the layout differs."""
    view = np.ascontiguousarray(array, dtype=dtype).view(np.ndarray)
    if view is array or view.flags.writeable:
        view = view.view()
        view.flags.writeable = False
    return view
