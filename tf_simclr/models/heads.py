"""Projection head and supervised head (SimCLR sec. 4.2, SimCLRv2 sec. 2)."""

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm


def _normal():
    return keras.initializers.RandomNormal(stddev=0.01)


class ProjectionHead(keras.layers.Layer):
    """g: features h [B, C] -> [h, after layer 1, ..., output z [B, out_dim]].

    Each layer is dense without bias and batch norm; the middle ones keep the width C and end in ReLU, the last has
    no beta and no ReLU. `mode` none has no layer (z = h), linear one. With `keep` only the first layers are built.
    """

    def __init__(
        self,
        mode="nonlinear",
        out_dim=128,
        num_layers=3,
        keep=None,
        batch_norm_decay=0.9,
        global_bn=True,
        name="projection_head",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.out_dim = out_dim
        self.num_layers = {"none": 0, "linear": 1, "nonlinear": num_layers}[mode]
        self.norms = [
            BatchNorm(
                batch_norm_decay,
                global_bn,
                center=layer < self.num_layers - 1,
                name=f"norm{layer + 1}",
            )
            for layer in range(self.num_layers)
        ][:keep]

    def build(self, shape):
        width = shape[-1]
        sizes = [width] * (self.num_layers - 1) + [self.out_dim]
        self.dense = [
            keras.layers.Dense(
                size, use_bias=False, kernel_initializer=_normal(), name=f"dense{layer + 1}"
            )
            for layer, size in enumerate(sizes[: len(self.norms)])
        ]

    def call(self, features, training=False):
        outputs = [features]
        for layer, (dense, norm) in enumerate(zip(self.dense, self.norms), start=1):
            x = norm(dense(outputs[-1]), training=training)
            outputs.append(x if layer == self.num_layers else tf.nn.relu(x))
        return outputs


class TaskHead(keras.layers.Layer):
    """Answers a pretext task: features [B, C] -> [B, num_outputs], always float32.

    `widths` are those of hidden layers, each dense without bias, batch norm and ReLU.
    """

    def __init__(
        self, widths, num_outputs, batch_norm_decay=0.9, global_bn=True, name="task_head", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.hidden = [
            keras.layers.Dense(
                width, use_bias=False, kernel_initializer="he_normal", name=f"dense{layer}"
            )
            for layer, width in enumerate(widths, 1)
        ]
        self.norms = [
            BatchNorm(batch_norm_decay, global_bn, name=f"norm{layer}")
            for layer, _ in enumerate(widths, 1)
        ]
        self.answer = keras.layers.Dense(
            num_outputs, kernel_initializer=_normal(), name="answer", dtype="float32"
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
    """Answers a question about several patches: their features [B, N, C] -> [B, num_outputs], always float32.

    One dense layer of `own_width`, batch norm and ReLU for each patch by itself, then a `TaskHead` on all of them in their order.
    """

    def __init__(
        self,
        own_width,
        widths,
        num_outputs,
        batch_norm_decay=0.9,
        global_bn=True,
        name="patches_head",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.own = keras.layers.Dense(
            own_width, use_bias=False, kernel_initializer="he_normal", name="own"
        )
        self.norm = BatchNorm(batch_norm_decay, global_bn, name="own_norm")
        self.together = TaskHead(widths, num_outputs, batch_norm_decay, global_bn, name="together")

    def build(self, shape):
        self.own.build([None, shape[-1]])
        self.norm.build([None, self.own.units])
        self.together.build([None, shape[1] * self.own.units])

    def call(self, features, training=False):
        own = self.own(tf.reshape(features, [-1, features.shape[-1]]))  # [B N, own_width]
        own = tf.nn.relu(self.norm(own, training=training))
        return self.together(
            tf.reshape(own, [-1, features.shape[1] * self.own.units]), training=training
        )


class SupervisedHead(keras.layers.Dense):
    """The linear classifier: features [B, C] -> logits [B, num_classes], always float32."""

    def __init__(self, num_classes, zero_init=False, name="supervised_head", **kwargs):
        super().__init__(
            num_classes,
            kernel_initializer="zeros" if zero_init else _normal(),
            name=name,
            dtype="float32",
            **kwargs,
        )
