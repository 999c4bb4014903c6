"""Arrays as kernels take them.

Numba compiles a kernel once for arrays that may be written and once more for those that may not. Every array of a
graph or an index is handed over as a view that may not, wherever it lies, so that there is one compilation for arrays
in memory and for files mapped read-only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def read_only(array: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A C-contiguous view of `array` that may not be written; copies only if the dtype or the layout differs."""
    view = np.ascontiguousarray(array, dtype=dtype).view(np.ndarray)
    if view is array or view.flags.writeable:
        view = view.view()
        view.flags.writeable = False
    return view
