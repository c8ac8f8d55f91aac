"""A stand-in for the networks of the original SimCLR release (Google Research's TF2 code).

It has their variable names, checkpoint keys and outputs, in TensorFlow alone, and shares no code
with `tf_simclr`, so that an imported model can be compared with it. Inference only, weights random:
no variable keeps a neutral value (gamma 1, mean 0, ...), so that two swapped ones change the
outputs.
"""

import collections
import functools

import numpy as np
import tensorflow as tf

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
BN_EPSILON = 1e-5


class Maker:
    """Hands out the numbered names and the random variables, in order of creation."""

    def __init__(self, first_number, global_bn, seed):
        self.numbers, self.batch_norm = (
            collections.defaultdict(lambda: first_number),
            "sync_batch_normalization" if global_bn else "batch_normalization",
        )
        self.random, self.created = np.random.default_rng(seed), []

    def scope(self, parent, kind):
        """`parent/kind_n`; every kind of layer has a counter of its own, and 0 is not written."""
        self.numbers[kind] += 1
        return f"{parent}/{kind}_{self.numbers[kind] - 1}".removesuffix("_0")

    def variable(self, name, value, trainable=True):
        self.created.append(tf.Variable(np.float32(value), trainable=trainable, name=name))
        return self.created[-1]


def apply(layers, x):
    return functools.reduce(lambda x, layer: layer(x), layers, x)


class Op(tf.Module):
    """A layer without variables; it takes its place in the numbering of a list."""

    def __init__(self, function=tf.identity):
        super().__init__()
        self.function = function

    def __call__(self, x):
        return self.function(x)


class Kernel(tf.Module):
    """The variables of a Conv2D or Dense layer; called, it is a 1x1 convolution or dense."""

    def __init__(self, make, scope, kind, shape, bias=False):
        super().__init__()
        scope = make.scope(scope, kind)
        self.kernel = make.variable(
            f"{scope}/kernel", make.random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        )
        self.bias = (
            make.variable(f"{scope}/bias", make.random.normal(0, 0.2, shape[-1])) if bias else None
        )

    def __call__(self, x):
        y = (
            tf.nn.conv2d(x, self.kernel, 1, "SAME")
            if len(self.kernel.shape) == 4
            else tf.matmul(x, self.kernel)
        )
        return y if self.bias is None else y + self.bias


class Conv(tf.Module):
    def __init__(self, make, scope, size, inputs, outputs, stride=1):
        super().__init__()
        self.size, self.stride = size, stride
        self.conv2d = Kernel(
            make, make.scope(scope, "conv2d_fixed_padding"), "conv2d", [size, size, inputs, outputs]
        )

    def __call__(self, x):
        if self.stride == 1:
            return self.conv2d(x)
        pad = (self.size - 1) // 2  # the same on both sides at any image size, unlike SAME
        return tf.nn.conv2d(
            tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]),
            self.conv2d.kernel,
            self.stride,
            "VALID",
        )


class BatchNormRelu(tf.Module):
    def __init__(self, make, scope, size, relu=True, gamma=(0.5, 1.0), beta=True):
        super().__init__()
        scope, random, bn = (
            make.scope(make.scope(scope, "batch_norm_relu"), make.batch_norm),
            make.random,
            tf.Module(),
        )
        bn.gamma = make.variable(f"{scope}/gamma", random.uniform(*gamma, size))
        bn.beta = make.variable(f"{scope}/beta", random.normal(0, 0.2, size)) if beta else None
        bn.moving_mean = make.variable(
            f"{scope}/moving_mean", random.normal(0, 0.2, size), trainable=False
        )
        bn.moving_variance = make.variable(
            f"{scope}/moving_variance", random.uniform(0.5, 1.5, size), trainable=False
        )
        self.bn, self.relu = bn, relu

    def __call__(self, x):
        x = tf.nn.batch_normalization(
            x, self.bn.moving_mean, self.bn.moving_variance, self.bn.beta, self.bn.gamma, BN_EPSILON
        )
        return tf.nn.relu(x) if self.relu else x


class SelectiveKernel(tf.Module):
    def __init__(self, make, scope, filters, stride, sk_ratio):
        super().__init__()
        scope, middle = make.scope(scope, "sk__conv2d"), max(int(filters * sk_ratio), 32)
        self.conv2d_fixed_padding = Conv(make, scope, 3, filters, 2 * filters, stride)
        self.batch_norm_relu = BatchNormRelu(make, scope, 2 * filters)
        self.conv2d_0 = Kernel(make, scope, "conv2d", [1, 1, filters, middle])
        self.batch_norm_relu_1 = BatchNormRelu(make, scope, middle)
        self.conv2d_1 = Kernel(make, scope, "conv2d", [1, 1, middle, 2 * filters])

    def __call__(self, x):
        streams = tf.stack(tf.split(self.batch_norm_relu(self.conv2d_fixed_padding(x)), 2, axis=3))
        pooled = tf.reduce_mean(tf.reduce_sum(streams, 0), [1, 2], keepdims=True)
        logits = self.conv2d_1(self.batch_norm_relu_1(self.conv2d_0(pooled)))
        return tf.reduce_sum(
            streams * tf.nn.softmax(tf.stack(tf.split(logits, 2, axis=3)), axis=0), 0
        )


class SqueezeExcite(tf.Module):
    def __init__(self, make, scope, filters, channels, ratio):
        super().__init__()
        scope, squeezed = make.scope(scope, "se__layer"), max(1, int(filters * ratio))
        self.se_reduce = Kernel(make, scope, "conv2d", [1, 1, channels, squeezed], bias=True)
        self.se_expand = Kernel(make, scope, "conv2d", [1, 1, squeezed, channels], bias=True)

    def __call__(self, x):
        pooled = tf.reduce_mean(x, [1, 2], keepdims=True)
        return x * tf.sigmoid(self.se_expand(tf.nn.relu(self.se_reduce(pooled))))


class Block(tf.Module):
    """One residual block; without a projection the list of the shortcut is empty: the identity."""

    def __init__(
        self,
        make,
        scope,
        inputs,
        filters,
        outputs,
        stride,
        project,
        sk_ratio,
        bottleneck,
        se_ratio=0.0,
    ):
        super().__init__()
        scope, last = (
            make.scope(scope, "bottleneck_block" if bottleneck else "residual_block"),
            {"relu": False, "gamma": (0.2, 0.4)},
        )
        shortcut = self.shortcut(make, scope, inputs, outputs, stride, sk_ratio) if project else []
        gate = []
        if bottleneck:
            branch = [
                Conv(make, scope, 1, inputs, filters),
                BatchNormRelu(make, scope, filters),
                Op(),
            ]  # each Op stands for a DropBlock
            if sk_ratio > 0:
                branch += [SelectiveKernel(make, scope, filters, stride, sk_ratio), Op()]
            else:
                branch += [
                    Conv(make, scope, 3, filters, filters, stride),
                    BatchNormRelu(make, scope, filters),
                    Op(),
                ]
            branch += [
                Conv(make, scope, 1, filters, outputs),
                BatchNormRelu(make, scope, outputs, **last),
                Op(),
            ]
            if se_ratio > 0:
                branch.append(SqueezeExcite(make, scope, filters, outputs, se_ratio))
            self.projection_layers, self.conv_relu_dropblock_layers = shortcut, branch
        else:
            branch = [
                Conv(make, scope, 3, inputs, filters, stride),
                BatchNormRelu(make, scope, filters),
            ]
            branch += [
                Conv(make, scope, 3, filters, outputs),
                BatchNormRelu(make, scope, outputs, **last),
            ]
            self.shortcut_layers, self.conv2d_bn_layers = shortcut, branch
            if se_ratio > 0:  # beside the list, unlike in a bottleneck
                self.se_layer = SqueezeExcite(make, scope, filters, outputs, se_ratio)
                gate = [self.se_layer]
        self.call = lambda x: tf.nn.relu(
            apply(shortcut, x) + apply([*branch, *gate], x)
        )  # a function, since a third list would become part of the keys

    @staticmethod
    def shortcut(make, scope, inputs, outputs, stride, sk_ratio):
        if sk_ratio <= 0:
            pool = []
        elif stride == 1:
            pool = [Op(lambda x: tf.nn.avg_pool2d(x, 2, 1, "SAME"))]
        else:
            pool = [
                Op(lambda x: tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])),
                Op(lambda x: tf.nn.avg_pool2d(x, 2, stride, "VALID")),
            ]
        return pool + [
            Conv(make, scope, 1, inputs, outputs, 1 if pool else stride),
            BatchNormRelu(make, scope, outputs, relu=False),
        ]

    def __call__(self, x):
        return self.call(x)


class ResNet(tf.Module):
    def __init__(self, make, depth, width, sk_ratio, image_size, se_ratio):
        super().__init__()
        scope, size, expansion = "resnet", int(64 * width), 4 if depth >= 50 else 1
        if image_size <= 32:
            stem = [Conv(make, scope, 3, 3, size)]
        elif sk_ratio > 0:
            stem = [Conv(make, scope, 3, 3, size // 2, 2), BatchNormRelu(make, scope, size // 2)]
            stem += [
                Conv(make, scope, 3, size // 2, size // 2),
                BatchNormRelu(make, scope, size // 2),
                Conv(make, scope, 3, size // 2, size),
            ]
        else:
            stem = [Conv(make, scope, 7, 3, size, 2)]
        pool = Op() if image_size <= 32 else Op(lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"))
        self.stem_convolutions = len(
            stem
        )  # the output `initial_conv` is read here: before the last batch normalisation
        self.initial_conv_relu_max_pool = stem + [Op(), BatchNormRelu(make, scope, size), pool]
        self.block_groups = []
        for g, blocks in enumerate(BLOCKS[depth]):
            group, filters, stride = tf.Module(), int(64 * 2**g * width), 2 if g else 1
            sizes = [size] + [filters * expansion] * blocks
            group.layers = [
                Block(
                    make,
                    f"{scope}/block_group{g + 1}",
                    sizes[b],
                    filters,
                    sizes[b + 1],
                    1 if b else stride,
                    b == 0,
                    sk_ratio,
                    depth >= 50,
                    se_ratio,
                )
                for b in range(blocks)
            ]
            self.block_groups.append(group)
            size = sizes[-1]
        self.output_size = size

    def __call__(self, x):
        out = {"initial_conv": apply(self.initial_conv_relu_max_pool[: self.stem_convolutions], x)}
        x = out["initial_max_pool"] = apply(
            self.initial_conv_relu_max_pool[self.stem_convolutions :], out["initial_conv"]
        )
        for g, group in enumerate(self.block_groups):
            x = out[f"block_group{g + 1}"] = apply(group.layers, x)
        return out | {"final_avg_pool": tf.reduce_mean(x, [1, 2])}


class LinearLayer(tf.Module):
    def __init__(self, make, scope, inputs, outputs, bias=False, bn=True, beta=True):
        super().__init__()
        self.bn_relu = (
            BatchNormRelu(make, scope, outputs, relu=False, beta=beta) if bn else None
        )  # listed before the kernel, applied after it
        self.dense = Kernel(make, scope, "dense", [inputs, outputs], bias)

    def __call__(self, x):
        return self.dense(x) if self.bn_relu is None else self.bn_relu(self.dense(x))


class ReferenceModel(tf.Module):
    """`model(images)` gives all outputs; `model.in_order()` the variables in order."""

    def __init__(
        self,
        depth=50,
        width=1.0,
        sk_ratio=0.0,
        image_size=224,
        num_proj_layers=3,
        proj_out_dim=128,
        num_classes=0,
        ft_proj_selector=0,
        first_number=0,
        global_bn=True,
        seed=0,
        se_ratio=0.0,
    ):
        super().__init__()
        make = Maker(first_number, global_bn, seed)
        self.ft_proj_selector, self.resnet_model = (
            ft_proj_selector,
            ResNet(make, depth, width, sk_ratio, image_size, se_ratio),
        )
        sizes = [self.resnet_model.output_size] * max(num_proj_layers, 1) + [proj_out_dim] * (
            num_proj_layers > 0
        )
        layers = [
            LinearLayer(
                make,
                f"projection_head/nl_{j}",
                sizes[j],
                sizes[j + 1],
                beta=j < num_proj_layers - 1,
            )
            for j in range(num_proj_layers)
        ]
        self._projection_head, self.supervised_head = tf.Module(), tf.Module()
        self._projection_head.linear_layers, self.supervised_head.linear_layer = layers, None
        if num_classes:
            self.supervised_head.linear_layer = LinearLayer(
                make,
                "head_supervised/linear_layer",
                sizes[ft_proj_selector],
                num_classes,
                bias=True,
                bn=False,
            )
        self.in_order = lambda: list(
            make.created
        )  # as an attribute, the list itself would be written to checkpoints

    def __call__(self, images, trainable=False):
        out = self.resnet_model(images)
        hiddens, layers = [out["final_avg_pool"]], self._projection_head.linear_layers
        for j, layer in enumerate(layers):
            hiddens.append(
                layer(hiddens[-1]) if j == len(layers) - 1 else tf.nn.relu(layer(hiddens[-1]))
            )
        if layers:
            out |= {"proj_head_input": hiddens[0], "proj_head_output": hiddens[-1]}
        if self.supervised_head.linear_layer is not None:
            out["logits_sup"] = self.supervised_head.linear_layer(hiddens[self.ft_proj_selector])
        return out


class Exported(tf.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    @tf.function(autograph=False)
    def __call__(self, images, trainable):
        return self.model(images, trainable)


def save_saved_model(model, path):
    """Write a SavedModel without signatures, called as `loaded(images, trainable=False)`."""
    exported = Exported(model)
    for trainable in (True, False):
        exported.__call__.get_concrete_function(
            tf.TensorSpec([None, None, None, 3], tf.float32), trainable=trainable
        )
    tf.saved_model.save(exported, str(path))


def save_checkpoint(model, path, step=7):
    """Writes a training checkpoint with momentum slots into a directory; returns its prefix."""
    optimizer = tf.compat.v1.train.MomentumOptimizer(
        learning_rate=0.0, momentum=0.9
    )  # has slots, and at rate 0 leaves the weights alone
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in model.in_order() if v.trainable])
    checkpoint = tf.train.Checkpoint(
        model=model, global_step=tf.Variable(step, dtype=tf.int64), optimizer=optimizer
    )
    return tf.train.CheckpointManager(checkpoint, str(path), max_to_keep=5).save(
        checkpoint_number=step
    )
