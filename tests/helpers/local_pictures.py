"""A small tensorflow-datasets data set that is downloaded from a server of this machine.

It is imported as a module of a package, as the data sets of tensorflow-datasets itself are: for
those the library looks for its own resources, which it does not do for classes of a script.
"""

import io
import os

import numpy as np
import tensorflow_datasets as tfds

URL_VARIABLE = "LOCAL_PICTURES_URL"  # environment variable: where the archive is served
CLASSES = ("ant", "bee")


def archive():
    """The content of the file that is served: an .npz of uint8 images [20, 16, 16, 3]."""
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    file = io.BytesIO()
    np.savez(file, images=images)
    return file.getvalue()


class LocalPictures(tfds.core.GeneratorBasedBuilder):
    """Twenty random images of two classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(16, 16, 3)),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        path = dl_manager.download(os.environ[URL_VARIABLE])
        return {"train": self._generate_examples(path), "test": self._generate_examples(path)}

    def _generate_examples(self, path):
        images = np.load(path)["images"]
        for index, image in enumerate(images):
            yield index, {"image": image, "label": index % len(CLASSES)}
