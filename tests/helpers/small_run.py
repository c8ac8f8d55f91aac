"""`run.py` with a ResNet-18 of few blocks, in a process that is forked with all imported."""

from tests.helpers import garbage  # isort: skip

import os
import types

import pytest
import sklearn.manifold  # noqa: F401  what run.py imports late, here once for all processes
from tensorboard.plugins.hparams import api  # noqa: F401

import run
from tf_simclr import report
from tf_simclr.commands import evaluate
from tf_simclr.commands.planning import stage_table  # noqa: F401
from tf_simclr.models import resnet

garbage.collect_rarely()


def main(arguments, environment, stderr, blocks, outputs):
    """Ends with the status of `run.py`.

    Args:
        arguments: flags.
        environment: further variables.
        stderr: path of a file that gets what goes to stderr.
        blocks: of each group of the network.
        outputs: whether a training ends with an export and a page.
    """
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    os.environ.update(environment)
    resnet.FAMILY[18] = (resnet.FAMILY[18][0], blocks)
    if not outputs:
        leave_out_outputs(pytest.MonkeyPatch())
    run.leave(run.main(["run.py", *arguments]))


def leave_out_outputs(monkeypatch):
    """A run ends without an export and a page, which take seconds."""
    tables_alone = types.SimpleNamespace(**{name: getattr(report, name) for name in report.__all__})
    tables_alone.write = lambda *paths: None
    monkeypatch.setattr(evaluate, "export_weights", lambda *measured: None)
    monkeypatch.setattr(evaluate, "report", tables_alone)
