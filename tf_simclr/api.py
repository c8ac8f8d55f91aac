"""Trained models in Python: `tf_simclr.load`."""

import contextlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from tf_simclr import config
from tf_simclr.checkpoints import pretrained, resnet_of_weights
from tf_simclr.checkpoints.class_names import class_names_or_numbers, saved_class_names
from tf_simclr.checkpoints.published_weights import local_path
from tf_simclr.checkpoints.weights import SAVED_MODEL_FILE
from tf_simclr.config import inheritance
from tf_simclr.config.automatic import Preprocessing
from tf_simclr.data import python_images
from tf_simclr.errors import UserError
from tf_simclr.models.layers import float32_policy
from tf_simclr.models.network import Network, with_predictions
from tf_simclr.runs import calibration as run_calibration
from tf_simclr.runs import files as run_files
from tf_simclr.runs.calibration import Calibration
from tf_simclr.runs.decisions import Classification, decide

# Of SavedModels of the original SimCLR release where nothing says it.
PUBLISHED_PREPROCESSING = Preprocessing(224, "centre", "original")


def load(path: str, image_size: int | None = None, offline: bool = False) -> "Model":
    """See `tf_simclr.load`."""
    name = str(path)
    with _flag_left_out():
        path = local_path(name, "path", offline)
    if (epath.Path(path) / SAVED_MODEL_FILE).exists():
        return _load_saved_model(path, name, image_size)
    trained = _load_trained(path)
    trained_with = trained.settings.preprocessing
    preprocessing = _with_size(trained_with, image_size)
    with _flag_left_out():
        calibration = trained.calibration
    return Model(
        trained.network.predictions,
        preprocessing,
        lambda num_classes: trained.class_names,
        trained.settings.value_range,
        calibration if preprocessing == trained_with else None,
        directory=epath.Path(path),
        load_network=lambda: trained.network,
    )


def _load_trained(path, settings=None):
    # A training of this process may have left another policy.
    with _flag_left_out(), float32_policy():
        return pretrained.load(path, "path", settings)


@contextlib.contextmanager
def _flag_left_out():
    """A message about a path does not begin with a flag, of which there is none."""
    try:
        yield
    except UserError as error:
        raise type(error)(str(error).removeprefix("--path=")) from None


def trained_resnet(weights: str, **given) -> keras.Model:
    """The encoder of trained weights, see `resnet_of_weights.build` and `tf_simclr.resnet`."""
    return resnet_of_weights.build(_load_trained(weights), weights, given)


def _with_size(preprocessing, image_size):
    return preprocessing._replace(size=image_size) if image_size else preprocessing


def _load_saved_model(path, name, image_size):
    """The model in a SavedModel at `path`; `name` is how the user calls it."""
    assets = epath.Path(path) / run_files.ASSETS
    settings = _settings_of_saved_model(assets, name)
    trained_with, value_range = PUBLISHED_PREPROCESSING, None
    if settings is not None:
        trained_with, value_range = settings.preprocessing, settings.value_range
    preprocessing = _with_size(trained_with, image_size)
    with pretrained.expect_saved_model(str(path), "final_avg_pool"):
        module = tf.saved_model.load(str(path))

        def network(images):
            return with_predictions(module(images, trainable=False))

        def class_names(num_classes):
            saved_names = saved_class_names(assets)
            return class_names_or_numbers(num_classes, saved_names)

        calibration = run_calibration.read(assets)
        return Model(
            network,
            preprocessing,
            class_names,
            value_range,
            calibration if preprocessing == trained_with else None,
            load_network=lambda: _load_trained(path, settings).network,
        )


def _settings_of_saved_model(assets, name):
    """The configuration in the assets; of the original release that of its run, or of its name."""
    saved = run_files.read_json(assets / run_files.CONFIG)
    flags = inheritance.saved_flags(name) if saved is None else config.completed(saved)
    return None if flags is None else config.build(flags)


class Model:
    """A trained network in inference mode.

    Wherever images are taken they may be
    - one image: the path of a file, the encoded image itself as bytes (JPEG, PNG, BMP, GIF, WebP),
      an image of PIL, uint8 [H, W, 3] or [H, W] (gray);
    - several: a list or any iterator of these, of any sizes; uint8 [B, H, W, 3];
    - a folder: all images in it and below, sorted by their paths;
    - float32 [H, W, 3] or [B, H, W, 3] in [0, 1], which go to the network as they are, all of one
      size; all others are cropped and resized as in evaluation.

    One image gives one row.

    Args:
        network: a function of images float32 [B, H, W, 3] -> {name: float32 [B, ...]}.
        preprocessing: what is done to images that are not float32.
        class_names: a function of the number of classes -> their names.
        value_range: of image files with 16 bits, see `data.decoding.decode`.
        calibration: of its classifier.
        directory: of the run that it was loaded from, or of a checkpoint in it; None: of none.
        load_network: a function that gives the network that can be trained on; None: there is none.

    Attributes:
        image_size: height and width in pixels that images are brought to.
        class_names: names of the classes, empty if it predicts none.
        calibration: temperature, threshold, ... of its classifier; None: there is none.
    """

    def __init__(
        self,
        network,
        preprocessing: Preprocessing,
        class_names,
        value_range: tuple[float, float] | None = None,
        calibration: Calibration | None = None,
        directory: epath.Path | None = None,
        load_network: Callable[[], Network] | None = None,
    ):
        self._directory = directory
        self._load_network = load_network
        spec = tf.TensorSpec([None, None, None, 3], tf.float32)
        self._preprocessing = preprocessing
        self._value_range = value_range
        self.calibration = calibration
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
        outputs = [self._outputs(batch) for batch in self._prepared(images)]
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
        """Probabilities of the classes as the network gives them; `classify` calibrates them.

        Args:
            images: see `Model`.

        Returns:
            float32 [B, len(class_names)].

        Raises:
            ValueError: the network has no linear head.
        """
        self._require_classes()
        return self._output("probabilities", images)

    def classify(self, images) -> list[Classification]:
        """The class of each image, and how far it can be trusted.

        Args:
            images: see `Model`.

        Raises:
            ValueError: the network has no linear head.
        """
        self._require_classes()
        return [answer for batch in self._prepared(images) for answer in self._classify(batch)]

    def keras_model(self, trainable: bool = True, outputs: str = "features") -> keras.Model:
        """A functional Keras model of Keras' own layers, with a copy of the weights.

        It can be trained on with `fit`, built upon, and saved; a `.keras` file of it is loaded
        without this package.

        Args:
            trainable: whether its layers are.
            outputs: features: h [B, C]; pyramid: {level: feature map [B, H, W, C]}; logits:
                [B, len(class_names)].

        Returns:
            Images float32 [B, H, W, 3] in [0, 1], of any size -> the outputs, float32.

        Raises:
            ValueError: other outputs, or logits of a network without a linear head.
            tf_simclr.errors.UserError: it is not known of what network the weights are.
        """
        return self._load_network().keras_model(outputs, trainable)

    def report(self) -> str:
        """What is known of it: the verdict on the stages of its run, and where the page is.

        Raises:
            ValueError: it was not loaded from a run that was evaluated.
        """
        folders = (self._directory, self._directory.parent) if self._directory else ()
        pages = [folder / run_files.REPORT for folder in folders]
        pages = [page for page in pages if page.exists()]
        if not pages:
            raise ValueError("it was not loaded from the directory of a run that was evaluated")
        verdicts = [folder / run_files.VERDICT for folder in folders]
        verdicts = [verdict for verdict in verdicts if verdict.exists()]
        texts = [verdict.read_text(encoding="utf-8").strip() for verdict in verdicts]
        return "\n".join([*texts, f"report: {pages[-1]}"])

    def _require_classes(self):
        if not self.class_names:
            raise ValueError(
                "this network has no linear head, so it predicts no classes; "
                "embed and endpoints work"
            )

    def _classify(self, batch):
        outputs = self._outputs(batch)
        logits, features = outputs["logits_sup"].numpy(), outputs["embedding"].numpy()
        decisions = decide(logits, features, self.calibration)
        unsure, novelty = decisions.unsure, decisions.novelty
        for index, classes in enumerate(decisions.classes):
            names = [self.class_names[label] for label in classes]
            yield Classification(
                class_name=names[0],
                probability=float(decisions.probabilities[index, 0]),
                second=names[1] if len(names) > 1 else "",
                margin=float(decisions.margin[index]),
                unsure=None if unsure is None else bool(unsure[index]),
                novelty=None if novelty is None else float(novelty[index]),
            )

    def _outputs(self, batch):
        """All outputs; ValueError if the network takes no images of that size."""
        try:
            return self._network(batch)
        except tf.errors.InvalidArgumentError:
            height, width = batch.shape[1:3]
            raise ValueError(
                f"the network takes no images of {height}x{width} pixels: one with a published "
                "backbone takes only those of the size it was trained on; leave image_size out"
            ) from None

    def _output(self, name, images):
        """One output alone: the feature maps of all images at once may be too much."""
        return np.concatenate([self._outputs(batch)[name] for batch in self._prepared(images)])

    def _prepared(self, images):
        """Yields float32 [B, H, W, 3]; ValueError if they are none of what is accepted."""
        return python_images.prepared_batches(images, self._preprocessing, self._value_range)
