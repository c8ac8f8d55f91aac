"""A published backbone as the encoder, with the interface of `resnet.ResNet`.

Feature maps are [B, H, W, C], also those of a transformer, whose tokens [B, N, C] are laid out as
the patches of the image are; tokens before them (class, registers) are in none.
"""

import keras
import numpy as np
import tensorflow as tf

from tf_simclr.errors import UserError, first_line
from tf_simclr.models.architecture import IMAGE_SHAPE, Architecture
from tf_simclr.models.depth import NUM_GROUPS, divide
from tf_simclr.models.layers import Composite, in_repeated_pass

OUTPUT = "output"
MASK_TOKEN = "mask_token"  # attribute of keras-hub layers: stands for patches that are hidden
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")  # attributes of Keras layers


class PublishedEncoder(Composite):
    """The encoder f: images [B, S, S, 3] in [0, 1] -> dict of its named outputs.

    The keys are `block_group1` to `block_group3` where the backbone gives outputs of its blocks
    (`pyramid_outputs` of keras-hub), `block_group4`, its last feature map, and `final_avg_pool`:
    the class token of a transformer that has one, else the mean of its patches or pixels.

    Args:
        architecture: of the backbone.
        image_size: S, the only size that it takes.
        global_bn: statistics of its batch norm over all replicas.
        scope: path of the variables.

    Attributes:
        feature_dim: C of the pooled output.

    Raises:
        UserError: it can't be built for this image size, or is no image backbone.
    """

    last_map = f"block_group{NUM_GROUPS}"

    def __init__(
        self,
        architecture: Architecture,
        image_size: int,
        *,
        global_bn: bool = True,
        scope: str = "model/encoder",
        name: str = "encoder",
    ):
        super().__init__(name=name)
        self.architecture = architecture
        self.image_size = image_size
        # Of NumPy: tensors would be inputs of an exported graph.
        self._scale = np.array(architecture.scale, np.float32)
        self._offset = np.array(architecture.offset, np.float32)
        backbone = build_backbone(architecture, image_size, scope)
        self.structure = divide(backbone)
        self.features = features_of(backbone)
        self._batch_norms = []
        for layer in self.features._flatten_layers():
            if getattr(layer, MASK_TOKEN, None) is not None:
                layer.mask_token.trainable = False  # no patch is hidden here
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = global_bn
                self._batch_norms.append(layer)
        self.feature_dim = self.pool(backbone.outputs[0]).shape[-1]

    def call(self, images, training=False):
        images = tf.ensure_shape(images, [None, self.image_size, self.image_size, 3])
        images = tf.cast(images, tf.float32) * self._scale + self._offset
        if training and in_repeated_pass():
            outputs = self._without_counting(images)
        else:
            outputs = self.features(images, training=training)
        output = outputs.pop(OUTPUT)
        endpoints = {name: self._as_map(value) for name, value in outputs.items()}
        endpoints[self.last_map] = self._as_map(output)
        endpoints["final_avg_pool"] = self.pool(output)
        return endpoints

    def _without_counting(self, images):
        """The outputs in training, with the statistics of batch norm as they were."""
        statistics = []
        for norm in self._batch_norms:
            statistics += [norm.moving_mean, norm.moving_variance]
        before = [tf.identity(tf.convert_to_tensor(v)) for v in statistics]
        outputs = self.features(images, training=True)
        for v, value in zip(statistics, before):
            v.assign(value)
        return outputs

    def _num_prefix_tokens(self, tokens):
        """How many tokens are of no patch, and patches along a side."""
        count = tokens.shape[1]
        side = self.image_size // self.architecture.patch_size
        if self.architecture.patch_size == 1 or side**2 > count:
            side = int(count**0.5)
        return count - side**2, side

    def _as_map(self, x):
        """[B, H, W, C] of a feature map, of tokens, or of pooled features."""
        if len(x.shape) == 2:
            return x[:, None, None, :]
        if len(x.shape) == 4:
            return x
        num_prefix, side = self._num_prefix_tokens(x)
        return tf.reshape(x[:, num_prefix:], [-1, side, side, x.shape[-1]])

    def pool(self, x):
        """The pooled features [B, C] of the backbone's output: class token, or mean over space."""
        if len(x.shape) == 2:
            return x
        if len(x.shape) == 4:
            return keras.ops.mean(x, axis=[1, 2])
        num_prefix, _ = self._num_prefix_tokens(x)
        return x[:, 0] if num_prefix else keras.ops.mean(x, axis=1)

    @property
    def has_batch_norm(self) -> bool:
        """Whether batches change it other than by their gradient."""
        return bool(self._batch_norms)

    @property
    def levels(self) -> list[list]:
        """The variables by depth, see `depth.Structure`; those of no level are in the first."""
        levels = []
        for level in self.structure.levels:
            levels.append([v for layer in level for v in layer.variables])
        of_levels = {id(v) for level in levels for v in level}
        others = [v for v in self.variables if id(v) not in of_levels]
        return [others + levels[0], *levels[1:]]

    @property
    def not_decayed(self) -> list:
        """The variables that are no kernel: norms, biases, tokens, embeddings, scales."""
        kernel_ids = set()
        for layer in self.features._flatten_layers():
            kernels = [getattr(layer, name, None) for name in KERNELS]
            kernel_ids |= {id(kernel) for kernel in kernels if kernel is not None}
        return [v for v in self.variables if id(v) not in kernel_ids]

    def freeze(self, after_block: int):
        """Freezes layers, their batch norm statistics included.

        Args:
            after_block: -1: nothing; 0: the stem; k: the stem and the groups 1 to k.
        """
        if after_block == NUM_GROUPS:
            self.features.trainable = False
        elif after_block >= 0:
            for level in self.structure.levels[: self.structure.group_ends[after_block]]:
                for layer in level:
                    layer.trainable = False


def features_of(backbone: keras.Model) -> keras.Model:
    """Images -> {name: output} of a backbone's groups and its end, by its own layers."""
    outputs = {**divide(backbone).groups, OUTPUT: backbone.outputs[0]}
    return keras.Model(backbone.inputs[0], outputs, name="features")


def build_backbone(architecture: Architecture, image_size: int, scope: str) -> keras.Model:
    """A backbone with random weights, checked.

    Args:
        architecture: of the backbone.
        image_size: height and width of its images.
        scope: path of the variables.

    Raises:
        UserError: it can't be built for this image size, or is no image backbone.
    """
    check_size(architecture, image_size)
    outer, inner = scope.split("/")
    try:
        with keras.name_scope(outer), keras.name_scope(inner):
            backbone = architecture.build(image_size)
    except Exception as error:  # whatever a backbone raises, as where an image is too small
        raise UserError(
            f"--image_size={image_size}: the backbone {architecture.name} can't be built for it "
            f"({first_line(error)})"
        ) from None
    reason = not_usable(backbone, image_size)
    if reason:
        raise UserError(f"--backbone: {architecture.name} {reason}")
    return backbone


def check_size(architecture: Architecture, image_size: int):
    """Checks that whole patches make up the image, and that its size is accepted at all.

    Raises:
        UserError: they do not, or it is not.
    """
    only_size = 0 if IMAGE_SHAPE in architecture.config["config"] else architecture.input_size
    if only_size not in (0, image_size):
        raise UserError(
            f"--image_size={image_size}: the backbone {architecture.name} takes images of "
            f"{only_size} pixels alone; give --image_size={only_size}"
        )
    patch = architecture.patch_size
    if image_size % patch:
        smaller = max(image_size // patch, 1) * patch
        ways = dict.fromkeys([smaller, (image_size // patch + 1) * patch])
        raise UserError(
            f"--image_size={image_size}: the backbone {architecture.name} cuts images into patches "
            f"of {patch} pixels; give {' or '.join(f'--image_size={size}' for size in ways)}"
        )


def not_usable(backbone, image_size: int | None = None) -> str:
    """Why a Keras model can't be the encoder, in words; empty if it can.

    Args:
        backbone: the model.
        image_size: height and width that it has to take; None: any will do.
    """
    if not isinstance(backbone, keras.Model):
        return "is no Keras model"
    inputs, outputs = getattr(backbone, "inputs", None), getattr(backbone, "outputs", None)
    if not inputs or not outputs:
        return "has no symbolic inputs and outputs; give a functional Keras model"
    shape = inputs[0].shape
    if len(inputs) > 1 or len(shape) != 4 or shape[-1] not in (None, 3):
        return "is not an image backbone: its input is not images [B, H, W, 3] alone"
    if len(outputs) > 1 or len(outputs[0].shape) not in (2, 3, 4):
        return "is not an image backbone: its output is not one feature map, tokens or features"
    if image_size and any(side not in (None, image_size) for side in shape[1:3]):
        return f"takes images of {shape[1]} x {shape[2]} pixels; give --image_size={shape[1]}"
    if image_size and len(backbone.variables) != len(backbone.weights):
        return "draws random numbers of its own, with which no training could be resumed"
    return ""
