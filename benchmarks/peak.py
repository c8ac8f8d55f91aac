"""The memory of this process while something runs."""

import resource
import threading


def resident():
    """Bytes of memory that the process has now; Linux tells."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


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
