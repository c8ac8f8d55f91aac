"""What an evaluation hands on to its export."""

import types

import numpy as np

from tf_simclr.commands import evaluate
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.export import exporter


def test_images_for_other_formats_are_of_all_classes():
    """Those of a folder are in the order of their classes."""
    labels = np.repeat(np.arange(4), 2 * exporter.NUM_IMAGES)
    records = np.broadcast_to(labels[:, None, None, None], (len(labels), 2, 2, 3)).astype(np.uint8)
    source = Indexed("s", "train", tuple("abcd"), DecodedImage, records, labels)
    experiment = types.SimpleNamespace(
        data=types.SimpleNamespace(train_source=source),
        objective=types.SimpleNamespace(eval_example=lambda image, label: {"image": image}),
    )
    images = evaluate._training_images(experiment)
    assert images.shape == (exporter.NUM_IMAGES, 2, 2, 3)
    assert set(np.unique(images)) == {0, 1, 2, 3}
