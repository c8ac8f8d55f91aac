"""Projection head, supervised head and the heads of pretext tasks.

Source: SimCLR section 4.2, SimCLRv2 section 2.
"""

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm


def _normal_initializer():
    return keras.initializers.RandomNormal(stddev=0.01)


class ProjectionHead(keras.layers.Layer):
    """g: features h [B, C] -> [h, after layer 1, ..., output z [B, out_dim]].

    Each layer is dense without bias and batch norm; the middle ones keep the width C and end in
    ReLU, the last has no beta and no ReLU. Without layers z = h.

    Args:
        num_layers: of the whole head.
        out_dim: of its output.
        keep: how many layers are built, the first ones; None: all.
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
    """

    def __init__(
        self,
        num_layers: int = 3,
        out_dim: int = 128,
        keep: int | None = None,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        name: str = "projection_head",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.num_layers = num_layers
        self.out_dim = out_dim
        self.norms = [
            BatchNorm(
                batch_norm_decay,
                global_bn,
                center=number < num_layers,
                name=f"norm{number}",
            )
            for number in range(1, num_layers + 1)
        ][:keep]

    @property
    def is_whole(self) -> bool:
        """Whether all layers are built."""
        return len(self.norms) == self.num_layers

    def build(self, shape):
        width = shape[-1]
        units = [width] * (self.num_layers - 1) + [self.out_dim]
        self.dense = [
            keras.layers.Dense(
                units[index],
                use_bias=False,
                kernel_initializer=_normal_initializer(),
                name=f"dense{index + 1}",
            )
            for index in range(len(self.norms))
        ]

    def call(self, features, training=False):
        outputs = [features]
        for number, (dense, norm) in enumerate(zip(self.dense, self.norms), start=1):
            x = norm(dense(outputs[-1]), training=training)
            is_last = number == self.num_layers
            outputs.append(x if is_last else tf.nn.relu(x))
        return outputs


class TaskHead(keras.layers.Layer):
    """Answers a pretext task: features [B, C] -> [B, num_outputs], always float32.

    Args:
        widths: of hidden layers, each dense without bias, batch norm and ReLU.
        num_outputs: of the last layer, which is dense with bias.
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
    """

    def __init__(
        self,
        widths: list[int],
        num_outputs: int,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        name: str = "task_head",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.hidden = [
            keras.layers.Dense(
                width, use_bias=False, kernel_initializer="he_normal", name=f"dense{number}"
            )
            for number, width in enumerate(widths, 1)
        ]
        self.norms = [
            BatchNorm(batch_norm_decay, global_bn, name=f"norm{number}")
            for number in range(1, len(widths) + 1)
        ]
        self.answer = keras.layers.Dense(
            num_outputs, kernel_initializer=_normal_initializer(), name="answer", dtype="float32"
        )

    def build(self, shape):
        width = shape[-1]
        for dense, norm in zip(self.hidden, self.norms):
            dense.build([None, width])
            width = dense.units
            norm.build([None, width])
        self.answer.build([None, width])

    def call(self, features, training=False):
        for dense, norm in zip(self.hidden, self.norms):
            features = tf.nn.relu(norm(dense(features), training=training))
        return self.answer(features)


class PatchesHead(keras.layers.Layer):
    """Answers a question about several patches: features [B, N, C] -> [B, num_outputs], float32.

    Each patch goes through one dense layer, batch norm and ReLU by itself, then all of them, in
    their order, through a `TaskHead`.

    Args:
        patch_width: of the layer of each patch.
        widths: of the hidden layers of the `TaskHead`.
        num_outputs: of the `TaskHead`.
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
    """

    def __init__(
        self,
        patch_width: int,
        widths: list[int],
        num_outputs: int,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        name: str = "patches_head",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        # The names of the layers are part of the keys of checkpoints.
        self.patch_dense = keras.layers.Dense(
            patch_width, use_bias=False, kernel_initializer="he_normal", name="own"
        )
        self.patch_norm = BatchNorm(batch_norm_decay, global_bn, name="own_norm")
        self.task_head = TaskHead(widths, num_outputs, batch_norm_decay, global_bn, name="together")

    def build(self, shape):
        _, num_patches, channels = shape
        patch_width = self.patch_dense.units
        self.patch_dense.build([None, channels])
        self.patch_norm.build([None, patch_width])
        self.task_head.build([None, num_patches * patch_width])

    def call(self, features, training=False):
        _, num_patches, channels = features.shape
        x = self.patch_dense(tf.reshape(features, [-1, channels]))  # [B N, patch_width]
        x = tf.nn.relu(self.patch_norm(x, training=training))
        x = tf.reshape(x, [-1, num_patches * self.patch_dense.units])
        return self.task_head(x, training=training)


class SupervisedHead(keras.layers.Dense):
    """The linear classifier: features [B, C] -> logits [B, num_classes], always float32.

    Args:
        num_classes: outputs.
        zero_init: whether it starts at zero instead of at random.
    """

    def __init__(
        self,
        num_classes: int,
        zero_init: bool = False,
        name: str = "supervised_head",
        **kwargs,
    ):
        initializer = "zeros" if zero_init else _normal_initializer()
        super().__init__(
            num_classes, kernel_initializer=initializer, name=name, dtype="float32", **kwargs
        )
