"""Views for kernels are read-only, contiguous, and copies only where they must be."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.search.read_only import read_only


def test_an_array_of_the_right_dtype_is_not_copied_and_stays_writable() -> None:
    array = np.arange(4, dtype=np.int32)
    view = read_only(array, np.int32)
    assert np.shares_memory(array, view)
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 9
    array[0] = 7
    assert view[0] == 7


@pytest.mark.parametrize("array", [np.arange(4, dtype=np.int64), np.arange(8, dtype=np.int32)[::2]])
def test_another_dtype_or_layout_is_copied(array: np.ndarray) -> None:
    view = read_only(array, np.int32)
    assert not np.shares_memory(array, view)
    assert (str(view.dtype), view.flags.c_contiguous, view.flags.writeable) == ("int32", True, False)
    assert view.tolist() == array.tolist()
