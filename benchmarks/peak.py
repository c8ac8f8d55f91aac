"""The memory of this process while something runs."""

import threading

import psutil

PROCESS = psutil.Process()


def resident():
    """Bytes of memory that the process has now."""
    return PROCESS.memory_info().rss


class Peak:
    """`most`: the largest memory of the process in bytes, looked at every 5 ms while it is open."""

    def __enter__(self):
        self.most, self._done = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(0.005):
            self.most = max(self.most, resident())
