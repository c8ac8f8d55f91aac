"""The environment of TensorFlow, and `helpers.fixtures` where tests run."""

import os

import pytest

import tf_simclr  # noqa: F401  sets the environment before TensorFlow is imported

# Two processes share two cores: threads of their own would only wait for one another.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
# XLA compiles sooner what runs a few times. Before TensorFlow is imported, as all that it reads.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.hookimpl(trylast=True)  # what pytest-xdist is for is known then
def pytest_configure(config):
    """The process that hands out the tests imports no TensorFlow: all others wait for it."""
    hands_out = config.pluginmanager.has_plugin("dsession")
    if not hands_out:
        config.pluginmanager.import_plugin("tests.helpers.fixtures")
