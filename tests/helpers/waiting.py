"""Waits for what another thread or process does, however slow the machine is."""

import time

SECONDS = 400  # after which a process hangs


def wait_until(condition):
    """Until `condition()` holds.

    Raises:
        TimeoutError: it does not for so long that what it waits for hangs.
    """
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)
