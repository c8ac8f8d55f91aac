"""Which labels a calibration is fitted to."""

import types

import numpy as np

from tests.helpers.configurations import TINY
from tf_simclr import config
from tf_simclr.commands import calibrate
from tf_simclr.evaluation.network_features import LOGITS, NetworkFeatures


def test_of_many_test_labels_a_draw_is_taken(rng, monkeypatch):
    """As of labels that are held out; of few all are taken, in their order."""
    labels = rng.integers(-1, 3, 200)
    logits = rng.normal(size=(200, 3)).astype(np.float32)
    test = {"label": labels, "position": np.arange(200), LOGITS: logits}
    features = NetworkFeatures(train=None, test=test, views=None)
    experiment = types.SimpleNamespace(settings=config.build(TINY))
    everything = calibrate._held_out(experiment, features)
    np.testing.assert_array_equal(everything.labels, labels[labels >= 0])
    np.testing.assert_array_equal(everything.logits, logits[labels >= 0])
    monkeypatch.setattr(calibrate, "MAX_HELD_OUT", 50)
    drawn = calibrate._held_out(experiment, features)
    assert len(drawn.labels) == 50 and drawn.labels_of.startswith("50 labels")
    for row, label in zip(drawn.logits, drawn.labels):
        (position,) = np.flatnonzero((logits == row).all(1))
        assert labels[position] == label
