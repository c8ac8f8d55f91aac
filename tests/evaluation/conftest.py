"""What the tests of the evaluation share."""

import pytest

from tests.helpers.evaluation import QUICK
from tf_simclr.training.experiment import build_experiment


@pytest.fixture
def make_experiment(settings, shallow, eager, few_splits):
    """A function: flags -> an experiment in a run directory that exists."""

    def make(**flags):
        experiment = build_experiment(settings(**{**QUICK, **flags}))
        experiment.directory.create()
        return experiment

    return make
