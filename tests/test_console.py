"""What the log says of work that takes long."""

import time

from tf_simclr.console import announced_if_slow


def test_slow_work_is_announced_while_it_lasts(log):
    with announced_if_slow("a probe", seconds=0.01):
        wait_until(lambda: log.messages)
    assert set(log.messages) == {"still working: a probe"}


def test_quick_work_is_not(log):
    with announced_if_slow("a probe", seconds=0.2):
        pass
    time.sleep(0.3)
    assert not log.messages


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
