"""`run.py` with a ResNet-18 of few blocks, in a process that is forked with all imported."""

from tests.helpers import garbage  # isort: skip

import os
import types

import pytest
import sklearn.manifold  # noqa: F401  what run.py imports late, here once for all processes
import tensorflow as tf
from tensorboard.plugins.hparams import api  # noqa: F401

import run
from tf_simclr import report
from tf_simclr.commands import evaluate
from tf_simclr.commands.planning import stage_table  # noqa: F401
from tf_simclr.models import resnet
from tf_simclr.training.periodic_work import PeriodicWork

garbage.collect_rarely()


def main(arguments, environment, stderr, blocks, outputs, optimized, signal_after):
    """Ends with the status of `run.py`.

    Args:
        arguments: flags.
        environment: further variables.
        stderr: path of a file that gets what goes to stderr.
        blocks: of each group of the network.
        outputs: whether a training ends with an export and a page.
        optimized: whether graphs are improved before they run, as for users.
        signal_after: (run directory, step, number of a signal), or None.
    """
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    os.environ.update(environment)
    resnet.FAMILY[18] = (resnet.FAMILY[18][0], blocks)
    if not optimized:
        leave_graphs_as_they_are()
    if not outputs:
        leave_out_outputs(pytest.MonkeyPatch())
    if signal_after:
        send_signal_after(*signal_after)
    run.leave(run.main(["run.py", *arguments]))


def send_signal_after(directory, step, number):
    """By this process to itself: another one that waits for the step may come too late."""
    after = PeriodicWork.after

    def after_and_signal(periodic_work, step_done, is_last):
        after(periodic_work, step_done, is_last)
        if (periodic_work._checkpoints.directory, step_done) == (str(directory), step):
            os.kill(os.getpid(), number)

    PeriodicWork.after = after_and_signal


def leave_graphs_as_they_are():
    """For a few steps it takes longer to improve a graph than to run it."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def leave_out_outputs(monkeypatch):
    """A run ends without an export, a page and pictures for it, which take seconds."""
    leave_out_page(monkeypatch)
    monkeypatch.setattr(evaluate, "export_weights", lambda *measured: None)


def leave_out_page(monkeypatch):
    """A run ends without a page, its pictures and events of the evaluation, which has them, too."""
    tables_alone = types.SimpleNamespace(**{name: getattr(report, name) for name in report.__all__})
    tables_alone.write = lambda *paths: None
    no_events = types.SimpleNamespace(write_events=lambda *paths, **contents: None)
    monkeypatch.setattr(evaluate, "write_images", lambda *measured: {})
    monkeypatch.setattr(evaluate, "tensorboard", no_events)
    monkeypatch.setattr(evaluate, "report", tables_alone)
