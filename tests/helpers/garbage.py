"""Imported first of all: what the others make stays, and looking at it again takes a second."""

import gc

gc.disable()


def collect_rarely():
    """From here on. Tracing, too, makes many objects that live on."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)
    gc.enable()
