"""SIGINT and SIGTERM end a training after the current step, which is saved."""

import signal

from absl import logging


class Interrupts:
    """While active, SIGINT and SIGTERM are noted instead of obeyed.

    A second SIGINT interrupts at once.

    Attributes:
        received: number of the signal that arrived, or None.
    """

    def __enter__(self):
        self.received = None
        signals = (signal.SIGINT, signal.SIGTERM)
        self._previous_handlers = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *unused):
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
        logging.info(
            "%s: finishing this step, then saving (Ctrl-C again: stop at once)",
            signal.Signals(number).name,
        )
