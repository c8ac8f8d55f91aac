"""The contract of everything that can be trained."""

import keras
import tensorflow as tf

from tf_simclr.data import augment
from tf_simclr.models.heads import ProjectionHead, SupervisedHead
from tf_simclr.models.layers import num_parameters
from tf_simclr.models.resnet import ResNet


def make_encoder(settings, name="encoder"):
    """The encoder f that the model section describes."""
    model = settings.model
    return ResNet(model.resnet_depth, model.width_multiplier, model.sk_ratio, model.se_ratio, settings.data.image_size,
                  model.batch_norm_decay, model.global_bn, name=name)


def make_projection_head(settings, keep=None, name="projection_head"):
    """The projection head g that the model section describes, or its first `keep` layers."""
    model = settings.model
    return ProjectionHead(model.proj_head_mode, model.proj_out_dim, model.num_proj_layers, keep,
                          model.batch_norm_decay, model.global_bn, name=name)


class Objective(keras.layers.Layer):
    """Encoder, heads and a loss. All state (also a queue) is in its variables, so a checkpoint holds it; a teacher is not, it never changes.

    A subclass gives `example`, `loss` and, where it needs another head than the whole one, `head_layers`.

    Args:
        settings: `config.Config`.
        num_classes: outputs of the supervised head; 0: no such head.
    """

    needs_teacher = False  # True: `teacher` is set before the training: images [B, H, W, 3] -> logits [B, num_classes]
    head_layers = None  # how many layers of the projection head there are; None: all

    def __init__(self, settings, num_classes):
        super().__init__(name="model")  # the same name for all, so that variables keep their paths from stage to stage
        self.settings = settings
        self.encoder = make_encoder(settings)
        self.projection_head = make_projection_head(settings, self.head_layers)
        self.supervised_head = SupervisedHead(num_classes, settings.model.zero_init_logits_layer) if num_classes else None

    @classmethod
    def labeled_only(cls, settings):
        """Whether only labelled examples are fed; a source without labels is refused then."""
        return False

    def build_variables(self):
        """Makes all variables; raises if two of them have one path, since checkpoints go by path."""
        size = self.settings.data.image_size
        self(tf.zeros([1, size, size, 3]))
        self.encoder.freeze(self.settings.model.fine_tune_after_block)
        paths = [v.path for v in self.variables]
        if len(set(paths)) != len(paths):
            raise AssertionError("variables share a path: " + ", ".join(sorted({p for p in paths if paths.count(p) > 1})))

    def network(self):
        """The layers that `call` uses: what is exported, counted, and restored of a teacher."""
        return [part for part in (self.encoder, self.projection_head, self.supervised_head) if part is not None]

    def num_parameters(self):
        """Parameters of the network, see `layers.num_parameters`."""
        return sum(num_parameters(part) for part in self.network())

    def build(self, shape):
        """Nothing: each part makes its variables when it is first called."""

    def call(self, images, training=False):
        """Images [B, H, W, 3] in [0, 1] -> dict of all named outputs, those of the encoder included."""
        endpoints = self.encoder(images, training=training)
        features = self.projection_head(endpoints["final_avg_pool"], training=training)
        endpoints = {**endpoints, "proj_head_input": features[0], "proj_head_output": features[-1]}
        if self.supervised_head is not None:
            endpoints["logits_sup"] = self.supervised_head(features[self.settings.model.ft_proj_selector])
        return endpoints

    def head_input(self, features, training=False):
        """What the supervised head reads of the encoder's features [B, C]: layer `ft_proj_selector` of the projection head."""
        return self.projection_head(features, training=training)[self.settings.model.ft_proj_selector]

    def example(self, image, label, seed, constant=None):
        """One training example, inside tf.data: uint8 image [H, W, 3], label int64, seed int64 [2] -> dict of tensors.

        `constant` is what `constant_function` has computed of the image before the training; None: nothing.
        """
        raise NotImplementedError

    def constant_function(self):
        """What of an image never changes during the training, so that it is computed once, or None.

        Returns:
            (function of images [B, S, S, 3] -> [B, n], n)
        """

    def eval_example(self, image, label):
        """One example for evaluation: uint8 image [H, W, 3] -> image float32 [S, S, 3], label."""
        return {"image": augment.eval_image(image, self.settings.data.image_size), "label": label}

    def loss(self, batch, training=True):
        """A batch of `example`s -> (scalar loss of this replica, {metric name: scalar}), all float32."""
        raise NotImplementedError

    def start_linear_head(self, kernel, bias):
        """Starts the supervised head from kernel [C, num_classes] and bias [num_classes]."""
        self.supervised_head.kernel.assign(kernel)
        self.supervised_head.bias.assign(bias)

    def inherited(self):
        """The variables that start from another run's checkpoint; the others are new by design."""
        return self.variables

    def start(self):
        """Called once before the first step of a run, after a start from another run's checkpoint if there is one."""

    def warning(self, metrics):
        """What is wrong with a run that shows these metrics ({name: float}), as a line, or None."""
