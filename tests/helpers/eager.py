"""Steps that are not compiled: a few of a small network are sooner done than traced."""

import contextlib

import pytest
import tensorflow as tf

# Modules whose functions are not compiled.
UNCOMPILED = (
    "tf_simclr.checkpoints",
    "tf_simclr.distribute",
    "tf_simclr.evaluation",
    "tf_simclr.training",
)


class _Uncompiled:
    """A function in the place of a `tf.function`."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)

    def get_concrete_function(self, *arguments):
        return self


@contextlib.contextmanager
def eagerly():
    """Steps of training and evaluation that are made inside are not compiled, but for XLA.

    What every input goes through stays compiled: it is traced once for all tests.
    """
    compiled = tf.function

    def function(function_to_compile=None, **options):
        if function_to_compile is None:
            return lambda decorated: function(decorated, **options)
        is_step = getattr(function_to_compile, "__module__", "").startswith(UNCOMPILED)
        if is_step and not options.get("jit_compile"):
            return _Uncompiled(function_to_compile)
        return compiled(function_to_compile, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "function", function)
        yield
