"""A network with its batch norm folded into the convolutions predicts as the one without."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models import folding
from tf_simclr.models.resnet import ResNet

VARIANTS = [
    {"depth": 18, "image_size": 16},
    {"depth": 50, "image_size": 64, "sk_ratio": 0.0625, "se_ratio": 0.25},
]


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_features_from_constants(variant, rng):
    encoder = ResNet(width=0.125, **variant)
    size = variant["image_size"]
    images = rng.random((3, size, size, 3), np.float32)
    encoder(images)
    for index, v in enumerate(encoder.variables):  # statistics and scales that do something
        v.assign(v + tf.random.stateless_uniform(v.shape, [0, index], 0.01, 0.3))
    expected = encoder(images, training=False)["final_avg_pool"]
    spec = tf.TensorSpec([None, size, size, 3], tf.float32)
    predict = tf.function(lambda x: encoder(x, training=False)["final_avg_pool"])
    with folding.folded_norms():
        folded = predict.get_concrete_function(spec)
    np.testing.assert_allclose(folded(images), expected, rtol=1e-4, atol=1e-5)
    operations = [op.type for op in folded.graph.get_operations()]
    assert "BiasAdd" in operations
    assert not any(kind.startswith("FusedBatchNorm") for kind in operations)
    encoder.groups[0][0].branch[0].conv.kernel.assign_add(
        tf.ones_like(encoder.groups[0][0].branch[0].conv.kernel)
    )
    np.testing.assert_allclose(folded(images), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(encoder(images, training=False)["final_avg_pool"], expected, atol=1e-3)


@pytest.mark.usefixtures("shallow")
def test_a_training_pass_is_never_folded(rng):
    encoder = ResNet(18, width=0.125, image_size=16)
    images = rng.random((3, 16, 16, 3), np.float32)
    expected = encoder(images, training=True)["final_avg_pool"]
    with folding.folded_norms():
        features = encoder(images, training=True)["final_avg_pool"]
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_bytes_of_the_kernels():
    encoder = ResNet(18, width=0.125, image_size=16)
    encoder(np.zeros((1, 16, 16, 3), np.float32))
    kernels = [v for v in encoder.variables if v.path.endswith("conv/kernel") or "conv0" in v.path]
    assert folding.num_bytes(encoder) == 4 * sum(np.prod(v.shape) for v in kernels)
