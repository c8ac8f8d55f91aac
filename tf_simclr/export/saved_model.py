"""The SavedModel: a TF-Hub module, the call of the papers' code, and signatures to serve it with."""

import tensorflow as tf

from tf_simclr.data import augment, decoding

PARALLEL_DECODES = 1  # images of a request that are decoded at once: with the greatest number of pixels it bounds the memory
SHOWN_CLASSES = 5  # most probable classes that a request is answered with
IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
PIXELS = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")


def write(network, about, path, max_pixels):
    """Writes `network` (models.network.Network, float32) to `path`.

    Args:
        about: `card.About`. max_pixels: images with more are refused before they are decoded.
    """
    # A plain Checkpoint object holds them: tf.Module does not see Keras variables. The dict gives the file the keys of a checkpoint.
    variables = [v for part in network.exported_layers() for v in part.variables]
    module = tf.train.Checkpoint(model={v.path: v.value for v in variables})
    endpoints = _endpoints(network)
    module.__call__ = _call(endpoints)
    module.variables = [v.value for v in variables]
    module.trainable_variables = [
        v.value for v in network.encoder.trainable_variables
    ]  # what the embedding depends on
    module.head_variables = [
        v.value for part in network.exported_layers()[1:] for v in part.trainable_variables
    ]
    module.regularization_losses = regularization_losses(network)
    tf.saved_model.save(
        module, str(path), signatures=_signatures(network, endpoints, about.class_names, max_pixels)
    )


def _endpoints(network):
    """{training: function of images -> all named outputs}: the two graphs of the network that everything else calls."""
    endpoints = tf.function(network.predictions, autograph=False)
    return {
        training: endpoints.get_concrete_function(IMAGES, training=training)
        for training in (False, True)
    }


def _call(endpoints):
    """`__call__`: the embedding, as TF-Hub's reusable SavedModels return it; with `return_endpoints` all outputs.

    With `trainable` it is the call of the papers' code, which gives all outputs, too.
    """

    @tf.function(autograph=False)
    def call(inputs, trainable=None, training=False, return_endpoints=False):
        outputs = endpoints[training or bool(trainable)](inputs)
        return outputs if return_endpoints or trainable is not None else outputs["embedding"]

    inputs = tf.TensorSpec(IMAGES.shape, tf.float32, name="inputs")
    for mode in (False, True):
        call.get_concrete_function(inputs, training=mode)
        call.get_concrete_function(inputs, training=mode, return_endpoints=True)
        call.get_concrete_function(inputs, trainable=mode)
    return call


def regularization_losses(network):
    """The run's weight decay of the encoder's kernels, as TF-Hub has it: functions without argument."""
    decay = network.settings.optimizer.weight_decay
    kernels = [v.value for v in network.encoder.trainable_variables if len(v.shape) > 1]
    loss = tf.function(
        lambda: decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels]),
        input_signature=[],
        autograph=False,
    )
    return [loss] if decay else []


def _preprocess(size, max_pixels):
    """A function: encoded images, string [B] -> float32 [B, size, size, 3] in [0, 1], as evaluation sees them."""

    def one(contents):
        return augment.eval_image(decoding.decode(decoding.checked(contents, max_pixels)), size)

    return tf.function(
        lambda image_bytes: _each(one, image_bytes, size),
        input_signature=[IMAGE_BYTES],
        autograph=False,
    ).get_concrete_function()


def _each(function, elements, size):
    spec = tf.TensorSpec([size, size, 3], tf.float32)
    return tf.map_fn(
        function, elements, fn_output_signature=spec, parallel_iterations=PARALLEL_DECODES
    )


def _signatures(network, endpoints, class_names, max_pixels):
    size = network.settings.data.image_size
    preprocess = _preprocess(size, max_pixels)

    def inference(images):
        """The endpoints; of no images, too, which TensorFlow's fused convolution can't do."""
        count = tf.shape(images)[0]
        filled = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        return {name: value[:count] for name, value in endpoints[False](filled).items()}

    def answer(images):
        outputs = inference(images)
        if "probabilities" not in outputs:
            return {"embedding": outputs["embedding"]}
        scores, index = tf.math.top_k(
            outputs["probabilities"], min(SHOWN_CLASSES, len(class_names))
        )
        return {
            "probabilities": outputs["probabilities"],
            "classes": tf.gather(tf.constant(class_names), index),
            "scores": scores,
            "embedding": outputs["embedding"],
        }

    functions = {
        "serving_default": (IMAGE_BYTES, lambda image_bytes: answer(preprocess(image_bytes))),
        "embed": (
            IMAGE_BYTES,
            lambda image_bytes: {"embedding": inference(preprocess(image_bytes))["embedding"]},
        ),
        "images": (IMAGES, answer),
        "images_uint8": (
            PIXELS,
            lambda images: answer(
                _each(lambda image: augment.eval_image(image, size), images, size)
            ),
        ),
        "preprocess": (IMAGE_BYTES, lambda image_bytes: {"images": preprocess(image_bytes)}),
    }
    return {
        name: tf.function(function, input_signature=[spec], autograph=False)
        for name, (spec, function) in functions.items()
    }
