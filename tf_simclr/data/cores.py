"""How many processors there are to work with, and work that is shared by as many threads."""

import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence

BEGUN_AT_ONCE = 1000  # of a million calls that all wait the waiting alone would take gigabytes


def mapped(function: Callable, values: Sequence) -> Iterator:
    """Yields `function(value)` of each value, in their order, computed by a thread a core."""
    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        for first in range(0, len(values), BEGUN_AT_ONCE):
            yield from pool.map(function, values[first : first + BEGUN_AT_ONCE])


def num_cores() -> int:
    """Those that this process may use, which a scheduler or a container may have limited."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
