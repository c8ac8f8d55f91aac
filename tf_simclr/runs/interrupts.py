"""How SIGINT and SIGTERM end the program, wherever it is.

Outside of the training loop they raise at once; within it the step is finished and saved. C++ code,
such as a step or a batch that is waited for, can't be interrupted: where the program has not ended
some seconds after the signal, a thread ends the process. What is on the disk is whole at any
moment, since checkpoints are moved to their place.
"""

import contextlib
import os
import pathlib
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

from absl import logging

from tf_simclr.errors import SHELL_OFFSET, Terminated
from tf_simclr.runs import files

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LIMIT = 20.0  # seconds from a signal to the end; many supervisors kill after 30
LIMIT_OF_SECOND = 2.0  # after a second signal

_active = None  # the `Watchdog` of this process


class Watchdog:
    """While active, signals raise in the main thread, and end the process if that does not.

    In any other thread than the main one, which gets no signals, it does nothing.

    Args:
        saved: says what is kept; called when the process is ended.
        program: what the last line begins with.
        limit: seconds from a signal to the end of the process.
    """

    def __init__(self, saved: Callable[[], str], program: str = "run.py", limit: float = LIMIT):
        self._saved = saved
        self._program = program
        self._limit = limit
        self._deadline = None
        self._number = None  # of the first signal
        self._is_second = False  # whether another one came after it
        self._held = None  # whether a second signal waits, too; None: none does

    def __enter__(self):
        global _active
        self._is_main = threading.current_thread() is threading.main_thread()
        if not self._is_main:
            return self
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        # Python's handlers wait for C++ code to return; this writes at once.
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous_handlers = {number: signal.signal(number, _raise) for number in SIGNALS}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._outer, _active = _active, self
        return self

    def __exit__(self, *unused):
        global _active
        if not self._is_main:
            return
        _active = self._outer
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._writer.close()  # which ends the thread
        self._thread.join()
        self._reader.close()

    def allow(self, seconds: float):
        """The limit of a signal that arrives from now on, if it is longer than the usual one."""
        self._limit = max(self._limit, seconds)

    @contextlib.contextmanager
    def hold(self, after_second: bool = True):
        """Around work that may be finished even after the limit, such as writing a checkpoint.

        The limit begins anew then: after a validation there is a step to take and to save.

        Args:
            after_second: also after a second signal, which asks to stop at once.
        """
        before, self._held = self._held, after_second
        try:
            yield
        finally:
            if self._deadline is not None:
                self._deadline = max(self._deadline, time.monotonic() + self._limit)
            self._held = before

    def _may_end(self):
        if self._held is None:
            return True
        return self._is_second and not self._held

    def _watch(self):
        while True:
            left = None
            if self._deadline is not None:
                left = max(self._deadline - time.monotonic(), 0.05)
            readable, _, _ = select.select([self._reader], [], [], left)
            if readable:
                numbers = self._reader.recv(64)
                if not numbers:
                    return
                self._note([number for number in numbers if number in SIGNALS])
            is_late = self._deadline is not None and time.monotonic() >= self._deadline
            if is_late and self._may_end():
                self._end()

    def _note(self, numbers):
        now = time.monotonic()
        for number in numbers:
            if self._number is None:
                self._number, self._deadline = number, now + self._limit
            else:
                self._limit, self._is_second = LIMIT_OF_SECOND, True
                self._deadline = min(self._deadline, now + self._limit)

    def _end(self):
        """Without Python's own way out, which waits for C++ code as well."""
        name = signal.Signals(self._number).name
        done = "ended in the middle of what was being done"
        text = f"{self._program}: {name}: {done}; {self._saved()}\n"
        os.write(2, text.encode(errors="replace"))
        os._exit(SHELL_OFFSET + self._number)


def _raise(number, frame):
    if number == signal.SIGTERM:
        raise Terminated
    raise KeyboardInterrupt


class Interrupts:
    """Signals in a training: from `finish_steps` on they are noted instead of obeyed.

    A second SIGINT interrupts at once.

    Attributes:
        received: number of the signal that arrived, or None.
    """

    def __init__(self):
        self.received = None
        self._previous_handlers = {}

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def finish_steps(self, seconds: float = 0.0):
        """To be called after each step: there is something to save from the first one on.

        Args:
            seconds: that the step has taken; one that takes long has longer to end.
        """
        if _active is not None:
            _active.allow(2 * seconds)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not self._previous_handlers:
            self._previous_handlers = {
                number: signal.signal(number, self._note) for number in SIGNALS
            }

    def _note(self, number, frame):
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
        logging.info(
            "%s: finishing this step, then saving (Ctrl-C again: stop at once)",
            signal.Signals(number).name,
        )


def what_is_kept(directories: list[str]) -> str:
    """What there is of runs, for the line at the end of an interrupted program.

    Args:
        directories: of the runs, in their order.
    """
    if any("://" in directory for directory in directories):  # a bucket may take long to answer
        return "what was saved is kept, run the same command again to resume"
    for directory in reversed(directories):
        path = pathlib.Path(directory)
        if any(path.glob(f"{files.CHECKPOINT_PREFIX}-*{files.CHECKPOINT_INDEX}")):
            return f"the last checkpoint in {path} is kept, run the same command again to resume"
    return "there was no checkpoint yet"


def hold(after_second: bool = True):
    """See `Watchdog.hold`, of the one that is active; nothing if none is."""
    return _active.hold(after_second) if _active is not None else contextlib.nullcontext()
