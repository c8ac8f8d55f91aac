"""What the user sees in the terminal: the log, and the progress of long work."""

import contextlib
import logging as std_logging
import os
import platform
import shutil
import sys
import textwrap
import threading
import time
from importlib import metadata

import tqdm
from absl import logging

from tf_simclr.config.version import __version__
from tf_simclr.errors import UserError, printable

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
SECONDS_BETWEEN_LINES = 20
SECONDS_OF_SILENCE = 5  # before the log says what is being done
# In a narrow terminal the end is cut off, so what matters least stands there.
BAR = "{desc}: {percentage:3.0f}%|{bar:5}| {remaining} left{postfix}, {rate_noinv_fmt}"


def set_up_logging():
    """Shows messages of this package, and warnings of others, each with the time."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_for_the_user)
    _keep_off_bars(handler.python_handler)  # which the one of absl calls
    # The Python part of TensorFlow tells of every collective that it traces.
    std_logging.getLogger("tensorflow").setLevel(std_logging.WARNING)


class _PrintableFormatter(std_logging.Formatter):
    """Shows no control characters, see `errors.printable`, but line breaks of ours."""

    def formatMessage(self, record):
        lines = [record.message]
        if "\n" in str(record.msg):  # it has a table; elsewhere only a name brings line breaks
            lines = record.message.split("\n")
        record.message = "\n".join(map(printable, lines))
        return super().formatMessage(record)


def _is_for_the_user(record):
    """Whether it is a message of this package, or a library's warning that users can act on."""
    is_own = os.path.abspath(record.pathname).startswith(PACKAGE)  # installed among libraries, too
    is_of_a_library = not is_own and "-packages" in record.pathname
    if not is_of_a_library:
        return True
    return record.levelno >= std_logging.WARNING and "deprecated" not in record.getMessage()


def _keep_off_bars(handler):
    """A line of the log stands above a bar that is shown, not behind it."""

    def emit(record):
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            type(handler).emit(handler, record)

    handler.emit = emit


def print_text(text: str):
    """Prints to standard output, whose reader may have had enough, as `head` has."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is flushed at the end must not fail again
        os.close(nowhere)


@contextlib.contextmanager
def without_repeats(said: set[str]):
    """In its block the log leaves out what it has said before.

    Args:
        said: messages, to which those of the block are added.
    """

    def is_new(record):
        message = record.getMessage()
        is_repeated = message in said
        said.add(message)
        return not is_repeated

    handler = logging.get_absl_handler()
    handler.addFilter(is_new)
    try:
        yield
    finally:
        handler.removeFilter(is_new)


def wrapped(text: str) -> str:
    """A text for the log, in a terminal with its lines broken between words."""
    if not sys.stderr.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    lines = []
    for line in text.splitlines():
        lines += textwrap.wrap(line, columns, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def version_text() -> str:
    """What `run.py --version` prints."""
    libraries = [f"{name} {metadata.version(name)}" for name in ("tensorflow", "keras")]
    return f"tf_simclr {__version__}, {', '.join(libraries)}, Python {platform.python_version()}"


def check_backend():
    """Checks the backend of Keras before Keras is imported.

    Raises:
        UserError: KERAS_BACKEND, which the package sets where it is not set, is another one.
    """
    backend = os.environ["KERAS_BACKEND"]
    if backend != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND={backend}: this program works on tensorflow alone; unset this "
            "environment variable, or set it to tensorflow"
        )


def start_tensorflow():
    """Imports TensorFlow without its start-up messages, which no setting silences.

    TF_CPP_MIN_LOG_LEVEL=0 shows them.

    Raises:
        UserError: as `check_backend`.
    """
    check_backend()
    with without_native_messages():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def without_native_messages():
    """While active, what compiled code writes to stderr is lost, see `start_tensorflow`."""
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] not in ("0", "1"):
        os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@contextlib.contextmanager
def announced_if_slow(work: str, seconds: float = SECONDS_OF_SILENCE):
    """Around work whose end can't be foretold: once it is slow, the log says what is being done.

    Args:
        work: in words.
        seconds: after which it is slow.
    """
    timer = threading.Timer(seconds, logging.info, ["still working: %s", work])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a line that has begun is written before those of what comes next


def _has_bar():
    """Whether a line can be written over: in terminals and notebooks, but not in files."""
    if "ipykernel" in sys.modules:
        return True
    # A terminal without a size, as in some containers, is one for which tqdm draws nothing.
    return sys.stderr.isatty() and 0 not in os.get_terminal_size(sys.stderr.fileno())


class Progress:
    """Counts images; shows images/s and the time left.

    It is a bar in a terminal or notebook, else lines of the log.

    Args:
        description: of the work; None: nothing is shown.
        total: images in all.
        start: images that are done already.
        unit: what is counted instead of images.
    """

    def __init__(
        self, description: str | None, total: float, start: float = 0, unit: str = "images"
    ):
        self.description = description
        self.unit = unit
        self.total = total
        self.start = start
        self.done = start
        self._began = time.monotonic()
        self._last_line = self._began
        self._bar = None
        if description is not None and _has_bar():
            self._bar = tqdm.tqdm(
                total=total,
                initial=start,
                desc=description,
                bar_format=BAR,
                unit=f" {unit}",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self._bar is not None:
            self._bar.close()

    def update(self, images: float, text: str = ""):
        """Counts images.

        Args:
            images: how many more are done.
            text: how the work goes.
        """
        self.done += images
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(images)
        elif self.description is not None and self._is_line_due():
            self._log_line(text)

    def _is_line_due(self):
        seconds = time.monotonic() - self._last_line
        return seconds > SECONDS_BETWEEN_LINES or self.done >= self.total

    def _log_line(self, text):
        self._last_line = time.monotonic()
        seconds = max(self._last_line - self._began, 1e-9)
        images_per_second = (self.done - self.start) / seconds
        remaining = max(self.total - self.done, 0)
        logging.info(
            "%s: %d of %d %s, %s%.1f %s/s, %s left",
            self.description,
            self.done,
            self.total,
            self.unit,
            f"{text}, " if text else "",
            images_per_second,
            self.unit,
            tqdm.tqdm.format_interval(remaining / images_per_second),
        )
