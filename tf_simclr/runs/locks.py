"""Locks between the processes of a machine."""

from absl import logging


def try_lock(path):
    """The open file that holds the lock, None if another process has it.

    The system frees the lock when the process ends. True where there are no locks.

    Raises:
        OSError: the file can't be opened.
    """
    try:
        import fcntl
    except ImportError:
        logging.info("no file locks on this system: two processes in one folder go unnoticed")
        return True
    if "://" in str(path):
        return True  # buckets have no locks
    file = open(path, "ab")  # noqa: SIM115  it stays open as long as the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except BlockingIOError:
        file.close()
        return None
    except OSError:  # a file system without locks
        file.close()
        return True


def is_locked(path) -> bool:
    """Whether a process has the lock; False where it is not known."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        # For reading, as the file may be another user's; shared, as some systems ask of a reader.
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # no file, one that can't be read, or a file system without locks
        return False
