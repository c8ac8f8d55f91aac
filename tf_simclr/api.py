"""Trained models in Python: `tf_simclr.load`."""

import os

import numpy as np
import tensorflow as tf
from etils import epath

from tf_simclr import config
from tf_simclr.checkpoints import pretrained
from tf_simclr.checkpoints.weights import SAVED_MODEL_FILE
from tf_simclr.config.automatic import Preprocessing
from tf_simclr.data import augment, decoding, foreign_images
from tf_simclr.errors import UserError
from tf_simclr.models.network import with_predictions
from tf_simclr.runs import files as run_files

BATCH_SIZE = 32  # images that go through the network at once
# Of the published SavedModels of the original SimCLR release, which do not say it.
PUBLISHED_PREPROCESSING = Preprocessing(224, "centre", "original")


def load(path: str, image_size: int | None = None) -> "Model":
    """See `tf_simclr.load`."""
    if (epath.Path(path) / SAVED_MODEL_FILE).exists():
        return _load_saved_model(path, image_size)
    try:
        trained = pretrained.load(path, "path")
    except UserError as error:
        raise UserError(str(error).removeprefix("--path=")) from None
    return Model(
        trained.network.predictions,
        _with_size(trained.settings.preprocessing, image_size),
        lambda num_classes: trained.class_names,
        trained.settings.value_range,
    )


def _with_size(preprocessing, image_size):
    return preprocessing._replace(size=image_size) if image_size else preprocessing


def _load_saved_model(path, image_size):
    assets = epath.Path(path) / run_files.ASSETS
    saved = run_files.read_json(assets / run_files.CONFIG)
    preprocessing, value_range = PUBLISHED_PREPROCESSING, None
    if saved is not None:
        settings = config.build(config.completed(saved))
        preprocessing, value_range = settings.preprocessing, settings.value_range
    preprocessing = _with_size(preprocessing, image_size)
    with pretrained.expect_saved_model(str(path), "final_avg_pool"):
        module = tf.saved_model.load(str(path))

        def network(images):
            return with_predictions(module(images, trainable=False))

        def class_names(num_classes):
            saved_names = pretrained.saved_class_names(assets)
            return pretrained.class_names_or_numbers(num_classes, saved_names)

        return Model(network, preprocessing, class_names, value_range)


class Model:
    """A trained network in inference mode.

    Wherever images are taken they may be
    - paths of image files, or the encoded images themselves as bytes (JPEG, PNG, BMP, GIF), one or
      a list;
    - uint8 [B, H, W, 3], or a list of uint8 [H, W, 3] of any sizes;
    - float32 [B, H, W, 3] in [0, 1], which go to the network as they are; all others are cropped
      and resized as in evaluation.

    Args:
        network: a function of images float32 [B, H, W, 3] -> {name: float32 [B, ...]}.
        preprocessing: what is done to images that are not float32.
        class_names: a function of the number of classes -> their names.
        value_range: of image files with 16 bits, see `data.decoding.decode`.

    Attributes:
        image_size: height and width in pixels that images are brought to.
        class_names: names of the classes, empty if it predicts none.
    """

    def __init__(
        self,
        network,
        preprocessing: Preprocessing,
        class_names,
        value_range: tuple[float, float] | None,
    ):
        spec = tf.TensorSpec([None, None, None, 3], tf.float32)
        self._preprocessing = preprocessing
        self._value_range = value_range
        self.image_size = preprocessing.size
        self._network = tf.function(network, input_signature=[spec], autograph=False)
        outputs = self._network.get_concrete_function().structured_outputs
        self.class_names = ()
        if "logits_sup" in outputs:
            self.class_names = class_names(outputs["logits_sup"].shape[-1])

    def endpoints(self, images) -> dict[str, np.ndarray]:
        """All named outputs.

        Args:
            images: see `Model`.

        Returns:
            {name: float32 [B, ...]}: initial_conv to block_group4, final_avg_pool,
            proj_head_output, logits_sup, ...
        """
        outputs = [self._network(batch) for batch in self._batches(images)]
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    def embed(self, images) -> np.ndarray:
        """The features h of the encoder.

        Args:
            images: see `Model`.

        Returns:
            float32 [B, C].
        """
        return self._output("embedding", images)

    def predict(self, images) -> np.ndarray:
        """Probabilities of the classes.

        Args:
            images: see `Model`.

        Returns:
            float32 [B, len(class_names)].

        Raises:
            ValueError: the network has no linear head.
        """
        if not self.class_names:
            raise ValueError(
                "this network has no linear head, so it predicts no classes; "
                "embed and endpoints work"
            )
        return self._output("probabilities", images)

    def _output(self, name, images):
        """One output alone: the feature maps of all images at once may be too much."""
        return np.concatenate([self._network(batch)[name] for batch in self._batches(images)])

    def _batches(self, images):
        images = self._prepare(images)
        starts = range(0, len(images), BATCH_SIZE)
        return [images[start : start + BATCH_SIZE] for start in starts]

    def _prepare(self, images):
        """Images as float32 [B, H, W, 3]; ValueError if they are none of what is accepted."""
        if isinstance(images, (str, bytes, os.PathLike)):
            images = [images]
        if not len(images):
            raise ValueError("there are no images")
        if isinstance(images[0], (str, bytes, os.PathLike)):
            return np.stack([self._resize(_decode(image, self._value_range)) for image in images])
        shapes = {np.shape(image) for image in images}
        if any(len(shape) != 3 or shape[-1] != 3 for shape in shapes):
            raise ValueError(
                f"images of shape [H, W, 3] are expected, got {sorted(shapes)[0]}; "
                "grayscale ones as three equal channels"
            )
        dtypes = {np.asarray(image).dtype for image in images}
        if dtypes == {np.dtype(np.uint8)}:
            return np.stack([self._resize(image) for image in images])
        are_floats = all(np.issubdtype(dtype, np.floating) for dtype in dtypes)
        if len(shapes) > 1 or not are_floats:
            raise ValueError(
                "uint8 images, or float32 ones of one size in [0, 1], are expected, got "
                f"{', '.join(map(str, dtypes))}"
            )
        return _checked_floats(np.asarray(images, np.float32))

    def _resize(self, image):
        return augment.eval_image(tf.convert_to_tensor(image), *self._preprocessing).numpy()


def _checked_floats(images):
    low, high = images.min(), images.max()
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"float images have to be in [0, 1], got {low:g} to {high:g}; "
            "divide by 255, or give uint8"
        )
    return images


def _decode(image, value_range):
    """An image file, or its content, as uint8 [H, W, 3]."""
    is_content = isinstance(image, bytes)
    try:
        if is_content:
            contents = tf.constant(image)
        else:
            contents = tf.io.read_file(foreign_images.usable_path(os.fspath(image)))
        return decoding.decode(decoding.checked(contents), value_range=value_range)
    except (UserError, OSError, tf.errors.OpError) as error:
        name = "these bytes" if is_content else os.fspath(image)
        is_of_decoder = isinstance(error, tf.errors.OpError)
        reason = decoding.reason(error) if is_of_decoder else error
        raise ValueError(
            f"{name}: not an image that can be read ({reason}); {decoding.ACCEPTED}"
        ) from None
