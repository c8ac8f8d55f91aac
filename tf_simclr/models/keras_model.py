"""A trained network as a functional `keras.Model` of Keras' own layers, with copied weights.

It is saved and loaded by Keras without this package; a published backbone has the layers of
keras-hub. Its layers are called after the variables of the network: group1_block0_conv1,
projection_dense1, ...; of --backbone=lab they are in two models, `lightness` and `color`.
"""

import math

import keras
import numpy as np

from tf_simclr.models import lab, published
from tf_simclr.models.lab import LabEncoder
from tf_simclr.models.layers import BatchNorm, Conv, float32_policy
from tf_simclr.models.published import PublishedEncoder
from tf_simclr.models.residual_blocks import ConvNorm, SelectiveKernel
from tf_simclr.models.resnet import ResNet

OUTPUTS = ("features", "pyramid", "logits")
IMAGES = "images"  # the input


def build(network, outputs: str = "features", trainable: bool = True) -> keras.Model:
    """Makes the model.

    Args:
        network: `models.network.Network`, trained.
        outputs: features: h [B, C] of the encoder; pyramid: {"P2": [B, H/4, W/4, C2], ...}, the
            outputs of the block groups by the logarithm of their stride, which the model has as
            `pyramid_outputs`, too; logits: [B, num_classes] of the linear head.
        trainable: whether its layers are; if not, batch norm keeps its statistics in `fit`, too.

    Returns:
        Images float32 [B, H, W, 3] in [0, 1], of any size, of a published backbone of its own ->
        the outputs, float32.

    Raises:
        ValueError: other outputs, or what the network does not have: a linear head, feature maps.
    """
    if outputs not in OUTPUTS:
        raise ValueError(f"outputs={outputs!r}: accepted are {', '.join(OUTPUTS)}")
    if outputs == "logits" and network.supervised_head is None:
        raise ValueError("outputs='logits': this network has no linear head; fine-tune it first")
    with float32_policy():
        images, pyramid, features = _encoder(network.encoder)
        if outputs == "pyramid" and not pyramid:
            raise ValueError("outputs='pyramid': this backbone has tokens, and no feature maps")
        results = {"features": features, "pyramid": pyramid}
        if outputs == "logits":
            results["logits"] = _logits(network, features)
        model = keras.Model(images, results[outputs], name=network.encoder.name)
    if outputs == "pyramid":
        model.pyramid_outputs = pyramid  # where KerasHub's detectors look for them
    model.trainable = trainable
    return model


def _apply(layer, x, *weights):
    """layer(x) with these weights, in the order of Keras."""
    y = layer(x)
    layer.set_weights([np.asarray(weight) for weight in weights])
    return y


def _encoder(encoder: ResNet | LabEncoder | PublishedEncoder):
    """(images, {level: feature map}, features [B, C])."""
    if isinstance(encoder, PublishedEncoder):
        return _published_encoder(encoder)
    images = keras.Input((None, None, 3), name=IMAGES)
    encode = _lab_encoder if isinstance(encoder, LabEncoder) else _resnet
    return images, *encode(encoder, images)


def _published_encoder(encoder: PublishedEncoder):
    """As `_encoder`; without levels where the backbone has tokens."""
    size = encoder.image_size
    images = keras.Input((size, size, 3), name=IMAGES)
    architecture = encoder.architecture
    scaled = keras.layers.Rescaling(architecture.scale, architecture.offset, name="scaled")(images)
    backbone = published.build_backbone(architecture, size, "model/encoder")
    features = published.features_of(backbone)
    outputs = _apply(features, scaled, *encoder.features.get_weights())
    output = outputs.pop(published.OUTPUT)
    maps = [*outputs.values(), output]
    pyramid = {f"P{int(math.log2(size // x.shape[1]))}": x for x in maps if len(x.shape) == 4}
    return images, pyramid, encoder.pool(output)


def _lab_encoder(encoder: LabEncoder, images):
    """As `_resnet`."""
    lightness, color = lab.split(images)
    of_lightness = _half(encoder.lightness, lightness)
    of_color = _half(encoder.color, color)
    outputs = {
        level: keras.layers.Concatenate(name=level)([of_lightness[level], of_color[level]])
        for level in of_color
    }
    features = outputs.pop("features")
    return outputs, features


def _half(resnet, x):
    """{level, "features": output} of a ResNet as a model by itself, so that names are unique."""
    inputs = keras.Input((None, None, x.shape[-1]))
    pyramid, features = _resnet(resnet, inputs)
    return keras.Model(inputs, {**pyramid, "features": features}, name=resnet.name)(x)


def _resnet(encoder: ResNet, x):
    """({level: feature map}, features [B, C])."""
    x, stride = _stem(encoder.stem, x)
    pyramid = {}
    for number, group in enumerate(encoder.groups, start=1):
        for index, block in enumerate(group):
            is_last = index == len(group) - 1
            end = f"block_group{number}" if is_last else f"{block.name}_relu"
            x = _block(block, x, end)
        stride *= 1 if number == 1 else 2
        pyramid[f"P{int(math.log2(stride))}"] = x
    features = keras.layers.GlobalAveragePooling2D(name="final_avg_pool")(x)
    return pyramid, features


def _stem(stem, x):
    """(feature map, its stride)."""
    stride = 1
    for number, (conv, norm) in enumerate(zip(stem.convs, stem.norms)):
        x = _convolution(conv, x, f"stem_conv{number}")
        x = _norm(norm, x, f"stem_norm{number}")
        x = keras.layers.ReLU(name=f"stem_relu{number}")(x)
        stride *= conv.strides
    if stem.pool:
        x = keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)
        stride *= 2
    return x, stride


def _block(block, x, end):
    """A residual block whose last layer is called `end`."""
    shortcut = x
    if block.shortcut is not None:
        shortcut = _shortcut(block.shortcut, x, f"{block.name}_shortcut")
    for layer in block.branch:
        name = f"{block.name}_{layer.name}"
        is_selective = isinstance(layer, SelectiveKernel)
        x = _selective_kernel(layer, x, name) if is_selective else _conv_norm(layer, x, name)
    if block.gate is not None:
        x = _squeeze_excite(block.gate, x, f"{block.name}_se")
    x = keras.layers.Add(name=f"{block.name}_add")([x, shortcut])
    return keras.layers.ReLU(name=end)(x)


def _shortcut(shortcut, x, name):
    if shortcut.pool and shortcut.strides > 1:
        x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
        x = keras.layers.AveragePooling2D(2, shortcut.strides, "valid", name=f"{name}_pool")(x)
    elif shortcut.pool:
        x = keras.layers.AveragePooling2D(2, shortcut.strides, "same", name=f"{name}_pool")(x)
    return _conv_norm(shortcut.project, x, f"{name}_project")


def _conv_norm(layer: ConvNorm, x, name):
    x = _norm(layer.norm, _convolution(layer.conv, x, name), f"{name}_norm")
    return keras.layers.ReLU(name=f"{name}_relu")(x) if layer.relu else x


def _convolution(conv: Conv, x, name, channels=slice(None)):
    """A convolution, or those output channels of it."""
    kernel = conv.kernel.numpy()[..., channels]
    padding = "same"
    if conv.strides > 1:
        padding = "valid"
        before = (conv.kernel_size - 1) // 2
        after = conv.kernel_size - 1 - before
        if before or after:
            sides = ((before, after), (before, after))
            x = keras.layers.ZeroPadding2D(sides, name=f"{name}_pad")(x)
    layer = keras.layers.Conv2D(
        kernel.shape[-1], conv.kernel_size, conv.strides, padding, use_bias=False, name=name
    )
    return _apply(layer, x, kernel)


def _norm(norm: BatchNorm, x, name, channels=slice(None)):
    """Batch norm, or that of some channels."""
    layer = keras.layers.BatchNormalization(
        momentum=norm.momentum, epsilon=norm.epsilon, center=norm.center, name=name
    )
    variables = [norm.gamma, norm.moving_mean, norm.moving_variance]
    if norm.center:
        variables.insert(1, norm.beta)
    return _apply(layer, x, *(v.numpy()[channels] for v in variables))


def _selective_kernel(layer: SelectiveKernel, x, name):
    """Each of the two streams has convolution and batch norm of its own."""
    filters = layer.excite.filters // 2
    streams = []
    logits = []
    halves = (slice(0, filters), slice(filters, 2 * filters))
    for number, channels in enumerate(halves):
        stream = _convolution(layer.streams.conv, x, f"{name}_stream{number}", channels)
        stream = _norm(layer.streams.norm, stream, f"{name}_stream{number}_norm", channels)
        streams.append(keras.layers.ReLU(name=f"{name}_stream{number}_relu")(stream))
    total = keras.layers.Add(name=f"{name}_sum")(streams)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(total)
    squeezed = _conv_norm(layer.squeeze, pooled, f"{name}_squeeze")
    for number, channels in enumerate(halves):
        logits.append(_convolution(layer.excite, squeezed, f"{name}_excite{number}", channels))
    first, second = streams
    difference = keras.layers.Subtract(name=f"{name}_logit")(logits)
    weight = keras.layers.Activation("sigmoid", name=f"{name}_weight")(difference)
    # weight * first + (1 - weight) * second
    contrast = keras.layers.Subtract(name=f"{name}_contrast")([first, second])
    weighted = keras.layers.Multiply(name=f"{name}_weighted")([contrast, weight])
    return keras.layers.Add(name=f"{name}_selected")([second, weighted])


def _squeeze_excite(gate, x, name):
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    squeezed = _dense(gate.squeeze, pooled, f"{name}_squeeze", "relu")
    excited = _dense(gate.excite, squeezed, f"{name}_excite", "sigmoid")
    return keras.layers.Multiply(name=f"{name}_gate")([x, excited])


def _dense(dense, x, name, activation=None):
    layer = keras.layers.Dense(
        dense.units, activation=activation, use_bias=dense.use_bias, name=name
    )
    return _apply(layer, x, *(v.numpy() for v in dense.weights))


def _logits(network, x):
    """The layers of the projection head that the linear head is on, and the linear head."""
    head = network.projection_head
    # As `Network` takes them: -1 is after the last one.
    num_layers = range(head.num_layers + 1)[network.settings.model.ft_proj_selector]
    for number, (dense, norm) in enumerate(zip(head.dense, head.norms), start=1):
        if number > num_layers:
            break
        x = _dense(dense, x, f"projection_dense{number}")
        x = _norm(norm, x, f"projection_norm{number}")
        if number < head.num_layers:
            x = keras.layers.ReLU(name=f"projection_relu{number}")(x)
    return _dense(network.supervised_head, x, "logits")
