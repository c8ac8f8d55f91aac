"""What can befall a program that is right: a full disk, a worker that is gone, too little memory. No TensorFlow here."""

from tf_simclr.config.config import Failed, UserError

KNOWN = (  # (words of the exceptions, what it is, what to do)
    (
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
    (
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
        "the disk does not do what it should",
        "see why, and give",
    ),
    (
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
    (
        ("OOM when allocating", "MemoryError", "std::bad_alloc"),
        "the memory does not suffice",
        "take a smaller --train_batch_size, --accumulate_steps or --rematerialize=block, or only give",
    ),
)


def explained(error):
    """A `Failed` that says what has happened and what to do, for an exception that is not a defect of the program; None for others."""
    text = f"{type(error).__name__}: {error}"
    for words, what, remedy in KNOWN:
        if any(word in text for word in words):
            line = next(line for line in text.splitlines() if any(word in line for word in words))
            return Failed(
                f"{what} ({line.strip()[:300]}); what was saved is kept: {remedy} the same command again, which goes on from the last checkpoint"
            )
    return None


def unwritable(message, error):
    """What to raise with `message` for an OSError of TensorFlow or Python: a `Failed` if the disk is full, else a wrong path, a `UserError`."""
    return (Failed if explained(error) else UserError)(message)
