"""How many processors there are to work with."""

import os


def num_cores() -> int:
    """Those that this process may use, which a scheduler or a container may have limited."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
