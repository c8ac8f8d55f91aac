"""Waits for what another thread or process does, however slow the machine is."""

import time

SECONDS = 120


def wait_until(condition):
    """Until `condition()` holds.

    Raises:
        TimeoutError: it does not for two minutes.
    """
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)
