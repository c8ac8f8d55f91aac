"""The SavedModel: a TF-Hub module, the call of the original SimCLR release, serving signatures.

The original release is Google Research's SimCLR code for TensorFlow 2.
"""

import contextlib

import tensorflow as tf
from absl import logging

from tf_simclr.data import augment, decoding, file_checks
from tf_simclr.export import calibrated
from tf_simclr.models import folding
from tf_simclr.runs.calibration import Calibration

# Images of a request that are decoded at once, where all of them together have no more pixels than
# one may have. Others are decoded one by one, which bounds the memory.
PARALLEL_DECODES = 8
ANSWERS = ("embedding", "logits_sup", "probabilities")  # what signatures use of the outputs
# Bytes of kernels that are constants; a graph has to stay below 2 GB.
MAX_CONSTANTS = 2**30
MAX_CLASSES = 5  # most probable classes in an answer
IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
PIXELS = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")


def write(
    network,
    class_names: tuple[str, ...],
    path,
    max_pixels: int,
    calibration: Calibration | None = None,
):
    """Writes a network.

    Args:
        network: `models.network.Network`, float32.
        class_names: outputs of the linear head, empty without one.
        path: directory to write into.
        max_pixels: images with more are refused before they are decoded.
        calibration: of the classifier; None: there is none.
    """
    layers = network.exported_layers()
    variables = [v for layer in layers for v in layer.variables]
    trainable = [v.value for layer in layers for v in layer.trainable_variables]
    # A plain Checkpoint object holds them: tf.Module does not see Keras variables. Their paths as
    # attributes of `model` give the file the keys of a checkpoint.
    module = tf.train.Checkpoint(model=tf.train.Checkpoint(**{v.path: v.value for v in variables}))
    endpoints = _endpoints(network)
    module.__call__ = _call(endpoints)
    module.variables = [v.value for v in variables]
    # What the embedding depends on.
    module.trainable_variables = [v.value for v in network.encoder.trainable_variables]
    module.head_variables = [v.value for layer in layers[1:] for v in layer.trainable_variables]
    # As in the modules of the original SimCLR release.
    module.trainable_variables_list = trainable
    module.model.trainable_variables = trainable
    if network.supervised_head is not None:
        head = [v.value for v in network.supervised_head.trainable_variables]
        module.model.supervised_head = tf.train.Checkpoint()
        module.model.supervised_head.trainable_variables = head
    module.regularization_losses = regularization_losses(network)
    signatures = _Signatures(
        _inference_function(network),
        settings=network.settings,
        class_names=class_names,
        max_pixels=max_pixels,
        calibration=calibration,
    )
    with _named(variables, network.exported_names()):
        tf.saved_model.save(module, str(path), signatures=signatures.functions())


@contextlib.contextmanager
def _named(variables, names):
    """TensorFlow writes the names that the variables have inside.

    There is no public way to rename a variable. The names are those of the process otherwise,
    where each layer may have called its kernel `kernel`.
    """
    saved = [v.value._handle_name for v in variables]
    for v in variables:
        v.value._handle_name = f"{names[v.path]}:0"
    try:
        yield
    finally:
        for v, name in zip(variables, saved):
            v.value._handle_name = name


def _endpoints(network):
    """{training: function of images -> all named outputs}.

    These are the two graphs of the network that everything else calls.
    """
    endpoints = tf.function(network.predictions, autograph=False)
    return {
        training: endpoints.get_concrete_function(IMAGES, training=training)
        for training in (False, True)
    }


def _inference_function(network):
    """Images -> the outputs of signatures, with weights as constants where the file allows it."""

    def answers(images):
        outputs = network.predictions(images)
        return {name: outputs[name] for name in ANSWERS if name in outputs}

    function = tf.function(answers, autograph=False)
    num_bytes = folding.num_bytes(network.encoder)
    if num_bytes > MAX_CONSTANTS:
        logging.info(
            "the signatures read the variables: their %.1f GB are too many for constants",
            num_bytes / 1e9,
        )
        return function.get_concrete_function(IMAGES)
    with folding.folded_norms():
        return function.get_concrete_function(IMAGES)


def _call(endpoints):
    """`__call__`: the embedding, as TF-Hub's reusable SavedModels return it.

    With `return_endpoints` it returns all outputs. With `trainable` it is the call of the original
    SimCLR release, which returns all outputs, too.
    """

    @tf.function(autograph=False)
    def call(inputs, trainable=None, training=False, return_endpoints=False):
        outputs = endpoints[training or bool(trainable)](inputs)
        returns_all = return_endpoints or trainable is not None
        return outputs if returns_all else outputs["embedding"]

    inputs = tf.TensorSpec(IMAGES.shape, tf.float32, name="inputs")
    for mode in (False, True):
        call.get_concrete_function(inputs, training=mode)
        call.get_concrete_function(inputs, training=mode, return_endpoints=True)
        call.get_concrete_function(inputs, trainable=mode)
    return call


def regularization_losses(network) -> list:
    """The run's weight decay of the encoder's kernels, as TF-Hub has it.

    Returns:
        Functions without argument; none without weight decay.
    """
    decay = network.settings.optimizer.weight_decay
    encoder = network.encoder
    # Tokens and embeddings of published backbones, which the training does not decay either.
    undecayed = {id(v) for v in encoder.not_decayed}
    decayed = [v for v in encoder.trainable_variables if id(v) not in undecayed]
    kernels = [v.value for v in decayed if len(v.shape) > 1]

    def loss():
        return decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    function = tf.function(loss, input_signature=[], autograph=False)
    return [function] if decay else []


class _Signatures:
    """The functions that a served model answers requests with."""

    def __init__(self, endpoints, *, settings, class_names, max_pixels, calibration):
        self._endpoints = endpoints
        self._preprocessing = settings.preprocessing
        self._value_range = settings.value_range
        self._class_names = class_names
        self._max_pixels = max_pixels
        preprocess = tf.function(self._preprocess, input_signature=[IMAGE_BYTES], autograph=False)
        self._preprocessed = preprocess.get_concrete_function()
        self._calibrated = calibrated.concrete_function(calibration, endpoints)

    def functions(self):
        """{name of the signature: function}."""
        signatures = {
            "serving_default": (IMAGE_BYTES, self._serve),
            "embed": (IMAGE_BYTES, self._embed),
            "images": (IMAGES, self._answer),
            "images_uint8": (PIXELS, self._answer_uint8),
            "preprocess": (IMAGE_BYTES, self._images_of_bytes),
        }
        return {
            name: tf.function(function, input_signature=[spec], autograph=False)
            for name, (spec, function) in signatures.items()
        }

    def _serve(self, image_bytes):
        return self._answer(self._preprocessed(image_bytes))

    def _embed(self, image_bytes):
        outputs = self._inference(self._preprocessed(image_bytes))
        return {"embedding": outputs["embedding"]}

    def _answer_uint8(self, images):
        pixels = tf.size(images, tf.int64) // images.shape[-1]
        return self._answer(self._for_each(self._resize, images, pixels))

    def _images_of_bytes(self, image_bytes):
        return {"images": self._preprocessed(image_bytes)}

    def _answer(self, images):
        outputs = self._inference(images)
        if "probabilities" not in outputs:
            return {"embedding": outputs["embedding"]}
        num_classes = min(MAX_CLASSES, len(self._class_names))
        scores, index = tf.math.top_k(outputs["probabilities"], num_classes)
        return {
            "probabilities": outputs["probabilities"],
            "classes": tf.gather(tf.constant(self._class_names), index),
            "scores": scores,
            "embedding": outputs["embedding"],
            **self._calibrated(outputs["logits_sup"], outputs["embedding"]),
        }

    def _inference(self, images):
        """All endpoints; also of no images, for which TensorFlow's fused convolution fails."""
        count, height, width, channels = tf.unstack(tf.shape(images))
        num_filled = tf.cast(count == 0, tf.int32)
        # Not tf.pad, after whose dynamic amounts TFLite's converter knows no number of channels.
        blank = tf.zeros([num_filled, height, width, channels])
        filled = tf.concat([images, blank], 0)
        return {name: value[:count] for name, value in self._endpoints(filled).items()}

    def _preprocess(self, image_bytes):
        """Encoded images, string [B] -> float32 [B, S, S, 3] in [0, 1], as in evaluation."""
        checked_and_pixels = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)
        contents, pixels = tf.map_fn(
            lambda each: file_checks.checked_and_counted(each, self._max_pixels),
            image_bytes,
            fn_output_signature=checked_and_pixels,
        )
        return self._for_each(self._decode, contents, tf.reduce_sum(pixels))

    def _decode(self, contents):
        return self._resize(decoding.decode(contents, self._max_pixels, self._value_range))

    def _resize(self, image):
        return augment.eval_image(image, *self._preprocessing)

    def _for_each(self, function, elements, num_pixels):
        """float32 [B, S, S, 3]: what `function` makes of elements of so many pixels in all."""
        size = self._preprocessing.size
        spec = tf.TensorSpec([size, size, 3], tf.float32)
        most = max(self._max_pixels // size**2, 1)
        message = f"a request takes at most {most} images, which become {size}x{size} pixels each"
        fits = tf.debugging.assert_less_equal(tf.shape(elements)[0], most, message=message)

        def images(num_at_once):
            return tf.map_fn(
                function, elements, fn_output_signature=spec, parallel_iterations=num_at_once
            )

        with tf.control_dependencies([fits]):
            are_small = num_pixels <= self._max_pixels
        return tf.cond(are_small, lambda: images(PARALLEL_DECODES), lambda: images(1))
