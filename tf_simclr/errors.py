"""Errors that end in one line for the user, and what failures of the environment mean."""

import dataclasses
import difflib
import signal

SHELL_OFFSET = 128  # of the exit status after a signal, as shells report it
# Control characters (C0, DEL and C1) and how Python writes them.
ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0))}


def printable(text: str) -> str:
    r"""`text` with escapes such as \x1b for control characters.

    A terminal acts on these: the name of a file could clear it, or add lines to what it shows.
    """
    return text.translate(ESCAPES)


class UserError(Exception):
    """A mistake in what the user gave: a flag, configuration, file, image or checkpoint.

    It ends the program with one line and `status`.
    """

    status = 2  # exit status of the program

    def __init__(self, message: str):
        in_one_line = " ".join(str(message).splitlines())  # a value may hold line breaks
        super().__init__(printable(in_one_line))


class Failed(UserError):
    """The usage was right, but the work could not be done."""

    status = 1


class Diverged(Failed):
    """The training can't continue: a loss, gradient or weight is not finite."""


class Interrupted(UserError):
    """SIGINT or SIGTERM arrived, and the training was saved."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.status = SHELL_OFFSET + signal_number


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived where there was nothing to finish."""


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal that has raised an interrupt."""
    return signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT


def did_you_mean(name, candidates) -> str:
    """A hint for a misspelled value.

    Args:
        name: what was received.
        candidates: what is accepted, texts or numbers.

    Returns:
        ` Did you mean 'x'?` with the candidate that is closest to `name`, in its value if all are
        whole numbers, else in its spelling; an empty text if there are no candidates.
    """
    if not candidates:
        return ""
    if isinstance(name, int) and all(isinstance(candidate, int) for candidate in candidates):
        closest = min(candidates, key=lambda candidate: abs(candidate - name))
    else:
        closest = max(candidates, key=lambda candidate: _similarity(name, candidate))
    return f" Did you mean '{closest}'?"


def _similarity(first, second):
    matcher = difflib.SequenceMatcher(None, str(first).lower(), str(second).lower())
    return matcher.ratio()


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@dataclasses.dataclass(frozen=True)
class EnvironmentFailure:
    """A failure of the machine, recognized by the words of the exceptions that it causes."""

    words: tuple[str, ...]
    meaning: str
    remedy: str


ENVIRONMENT_FAILURES = (
    EnvironmentFailure(
        (
            "No space left on device",
            "Disk quota exceeded",
            "File too large",
            "[Errno 27]",
            "[Errno 28]",
            "[Errno 122]",
        ),
        "the disk is full",
        "make room, and give",
    ),
    EnvironmentFailure(
        (
            "Read-only file system",
            "Input/output error",
            "Stale file handle",
            "Too many open files",
            "[Errno 5]",
            "[Errno 24]",
            "[Errno 30]",
            "[Errno 116]",
        ),
        "the disk does not work as it should",
        "check it, and give",
    ),
    EnvironmentFailure(
        (
            "Collective ops is aborted",
            "Connection reset by peer",
            "Socket closed",
            "failed to connect to all addresses",
            "heartbeat",
            "Barrier timed out",
        ),
        "another worker of the cluster is gone or does not answer",
        "see its log, and give all workers",
    ),
    EnvironmentFailure(
        ("OOM when allocating", "MemoryError", "std::bad_alloc"),
        "the memory does not suffice",
        "take a smaller --train_batch_size, a larger --accumulate_steps, --rematerialize=norm or "
        "--rematerialize=block, or give",
    ),
)


def environment_failure(error: BaseException) -> Failed | None:
    """What an exception means that is not a defect of the program: full disk, lost worker, ...

    Returns:
        A `Failed` that says what happened and what to do; None for any other exception.
    """
    text = f"{type(error).__name__}: {error}"
    for failure in ENVIRONMENT_FAILURES:
        for line in text.splitlines():
            if any(word in line for word in failure.words):
                return Failed(
                    f"{failure.meaning} ({line.strip()[:300]}); what was saved is kept: "
                    f"{failure.remedy} the same command again to resume from the last checkpoint"
                )
    return None


def not_written(name: str, error: OSError) -> UserError:
    """The error to raise where a file can't be written, with the reason that the system gives.

    Args:
        name: the file as the user named it, such as "--flag=value".
        error: what writing it has raised.
    """
    return write_error(f"{name}: it can't be written ({error.strerror or error})", error)


def write_error(message: str, error: OSError) -> UserError:
    """The error to raise with `message` where a path can't be written to.

    A failure of the environment, such as a full disk, makes it a `Failed`; any other `error`
    means a wrong path, which is a `UserError`.
    """
    kind = Failed if environment_failure(error) else UserError
    return kind(message)
