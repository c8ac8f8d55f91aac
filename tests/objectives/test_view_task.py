"""What holds for all methods on views: half precision, exports, and their colors."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training, same_batches, tinted
from tf_simclr import config
from tf_simclr.config.registry import PRETEXTS
from tf_simclr.data.color_policy import SIMCLR
from tf_simclr.objectives import objective_class
from tf_simclr.objectives.view_task import ViewTask

METHODS = [
    name
    for name in PRETEXTS
    if issubclass(objective_class(config.build({"pretext": name})), ViewTask)
]
pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture(params=METHODS)
def options(request, settings):
    """The configuration of each method."""
    return settings(
        pretext=request.param, color_jitter_strength=0, precision="bfloat16", optimizer="adam"
    )


def test_half_precision(options, eager):
    """Of the encoder; what is compared, and the loss, are float32."""
    training = Training(options)
    objective = training.objective
    assert objective.encoder.compute_dtype == "bfloat16"
    # Of gray images CMC would say that half of it has collapsed.
    first, second = map(tinted, same_batches(training, 2))
    training.step(first)
    images = objective.images(second)
    outputs = {
        **objective.outputs(second, images, True),
        **objective.targets(second, images, True),
    }
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    loss, metrics = objective.loss_of(outputs, second["label"], True)
    assert loss.dtype == tf.float32 and np.isfinite([loss, *metrics.values()]).all()
    assert objective.warning({name: float(value) for name, value in metrics.items()}) is None
    assert "collapsed" in objective.warning({"embedding_std": 0.001})


def test_only_byol_has_colors_of_its_own(options):
    kind = objective_class(options)
    assert (kind.color_policies != (SIMCLR,)) == (options.pretext.pretext == "byol")
