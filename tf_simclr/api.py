"""Trained models in Python: `tf_simclr.load`."""

import os

import numpy as np
import tensorflow as tf
from etils import epath

from tf_simclr.checkpoints import pretrained
from tf_simclr.data import augment, decoding
from tf_simclr.errors import UserError
from tf_simclr.models.network import with_predictions
from tf_simclr.runs import files as run_files
from tf_simclr.runs.files import read_json

BATCH = 32  # images that go through the network at once
MAX_PIXELS = 2**30
PAPERS_SIZE = 224  # image size of the papers' published SavedModels, which do not say it


def load(path, image_size=None):
    """See `tf_simclr.load`."""
    place = epath.Path(path)
    if not (place / "saved_model.pb").exists():
        try:
            found = pretrained.load(path, "path")
        except UserError as error:
            raise UserError(str(error).removeprefix("--path=")) from None
        return Model(
            found.network.predictions,
            image_size or found.settings.data.image_size,
            lambda count: found.class_names,
        )
    saved = read_json(place / "assets" / run_files.CONFIG) or {}
    size = image_size or saved.get("image_size", PAPERS_SIZE)
    with pretrained.expect_saved_model(str(path), "final_avg_pool"):
        module = tf.saved_model.load(str(path))
        return Model(
            lambda images: with_predictions(module(images, trainable=False)),
            size,
            lambda count: pretrained.class_names_or_numbers(
                count, pretrained.saved_class_names(place / "assets")
            ),
        )


class Model:
    """A trained network in inference mode.

    Wherever images are taken they may be
    - paths of image files, or the encoded images themselves as bytes (JPEG, PNG, BMP, GIF), one or a list;
    - uint8 [B, H, W, 3], or a list of uint8 [H, W, 3] of any sizes;
    - float32 [B, H, W, 3] in [0, 1], which go to the network as they are; all others are cropped and resized as in evaluation.

    Attributes:
        image_size: height and width in pixels that images are brought to. class_names: names of the classes, empty if it predicts none.
    """

    def __init__(self, network, image_size, names):
        self.image_size = image_size
        self._network = tf.function(
            network,
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)],
            autograph=False,
        )
        logits = self._network.get_concrete_function().structured_outputs.get("logits_sup")
        self.class_names = names(logits.shape[-1]) if logits is not None else ()

    def endpoints(self, images):
        """{name: float32 [B, ...]} of all named outputs: initial_conv to block_group4, final_avg_pool, proj_head_output, logits_sup, ..."""
        images = self._prepared(images)
        chunks = [
            self._network(images[start : start + BATCH]) for start in range(0, len(images), BATCH)
        ]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def embed(self, images):
        """The features h of the encoder, float32 [B, C]."""
        return self._only("embedding", images)

    def predict(self, images):
        """Probabilities float32 [B, len(class_names)].

        Raises:
            ValueError: the network has no linear head.
        """
        if not self.class_names:
            raise ValueError(
                "this network has no linear head, so it predicts no classes; embed and endpoints work"
            )
        return self._only("probabilities", images)

    def _only(self, name, images):
        images = self._prepared(images)  # the feature maps of all images at once may be too much
        return np.concatenate(
            [
                self._network(images[start : start + BATCH])[name]
                for start in range(0, len(images), BATCH)
            ]
        )

    def _prepared(self, images):
        """float32 [B, H, W, 3]; ValueError if they are none of what is accepted."""
        if isinstance(images, (str, bytes, os.PathLike)):
            images = [images]
        if not len(images):
            raise ValueError("no images are given")
        if isinstance(images[0], (str, bytes, os.PathLike)):
            return np.stack([self._evaluated(_decode(image)) for image in images])
        shapes = {np.shape(image) for image in images}
        if any(len(shape) != 3 or shape[-1] != 3 for shape in shapes):
            raise ValueError(
                f"images of shape [H, W, 3] are expected, got {sorted(shapes)[0]}; grey ones as three equal channels"
            )
        kinds = {np.asarray(image).dtype for image in images}
        if kinds == {np.dtype(np.uint8)}:
            return np.stack([self._evaluated(image) for image in images])
        if len(shapes) > 1 or not all(np.issubdtype(kind, np.floating) for kind in kinds):
            raise ValueError(
                f"uint8 images, or float32 ones of one size in [0, 1], are expected, got {', '.join(map(str, kinds))}"
            )
        images = np.asarray(images, np.float32)
        if not 0 <= images.min() <= images.max() <= 1:
            raise ValueError(
                f"float images have to be in [0, 1], got {images.min():g} to {images.max():g}; divide by 255, or give uint8"
            )
        return images

    def _evaluated(self, image):
        return augment.eval_image(tf.convert_to_tensor(image), self.image_size).numpy()


def _decode(image):
    """An image file, or its content, as uint8 [H, W, 3]."""
    try:
        contents = (
            tf.constant(image) if isinstance(image, bytes) else tf.io.read_file(os.fspath(image))
        )
        return decoding.decode(decoding.checked(contents, MAX_PIXELS))
    except tf.errors.OpError as error:
        what = "these bytes" if isinstance(image, bytes) else os.fspath(image)
        raise ValueError(
            f"{what}: not an image that can be read ({decoding.reason(error)}); {decoding.ACCEPTED}"
        ) from None
