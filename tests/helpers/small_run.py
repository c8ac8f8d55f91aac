"""`run.py` with a ResNet-18 of few blocks, in a process that is forked with all imported."""

import os
import sys
import types

import sklearn.manifold  # noqa: F401  what run.py imports late, here once for all processes
from tensorboard.plugins.hparams import api  # noqa: F401

import run
from tf_simclr import report
from tf_simclr.commands import evaluate, plan  # noqa: F401
from tf_simclr.models import resnet


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
        evaluate.export_weights = lambda *experiment: None
        tables = report.results_table
        evaluate.report = types.SimpleNamespace(results_table=tables, write=lambda *paths: None)
    sys.exit(run.main(["run.py", *arguments]))
