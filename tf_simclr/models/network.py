"""Encoder, projection head and linear classifier in one: what every training ends with, and what is exported."""

import keras
import tensorflow as tf

from tf_simclr.config.registry import ENCODER_LAYERS
from tf_simclr.models.heads import ProjectionHead, SupervisedHead
from tf_simclr.models.layers import num_parameters
from tf_simclr.models.resnet import ResNet


def make_encoder(settings, name="encoder"):
    """The encoder f that the model section of the configuration describes."""
    model = settings.model
    return ResNet(
        model.resnet_depth,
        model.width_multiplier,
        model.sk_ratio,
        model.se_ratio,
        settings.data.image_size,
        model.batch_norm_decay,
        model.global_bn,
        settings.train.rematerialize == "block",
        name=name,
    )


def make_projection_head(settings, keep=None, name="projection_head"):
    """The projection head g that the model section describes, or its first `keep` layers."""
    model = settings.model
    return ProjectionHead(
        model.proj_head_mode,
        model.proj_out_dim,
        model.num_proj_layers,
        keep,
        model.batch_norm_decay,
        model.global_bn,
        name=name,
    )


def with_predictions(outputs):
    """The outputs of a network in float32, with `embedding`, which is `final_avg_pool`, and where there is `logits_sup` `probabilities`."""
    outputs = {name: tf.cast(value, tf.float32) for name, value in outputs.items()}
    outputs["embedding"] = outputs["final_avg_pool"]
    if "logits_sup" in outputs:
        outputs["probabilities"] = tf.nn.softmax(outputs["logits_sup"])
    return outputs


class Network(keras.layers.Layer):
    """Images [B, H, W, 3] in [0, 1] -> dict of all named outputs (SimCLRv2 sec. 2).

    Args:
        settings: `config.Config`.
        num_classes: outputs of the supervised head; 0: no such head.
        head_layers: how many layers of the projection head there are; None: all.
    """

    def __init__(self, settings, num_classes, head_layers=None):
        super().__init__(
            name="model"
        )  # the same name for all, so that variables keep their paths from stage to stage
        self.settings = settings
        self.encoder = make_encoder(settings)
        self.projection_head = make_projection_head(settings, head_layers)
        self.supervised_head = (
            SupervisedHead(num_classes, settings.model.zero_init_logits_layer)
            if num_classes
            else None
        )

    def build_variables(self):
        """Makes all variables; raises if two of them have one path, since checkpoints go by path."""
        size = self.settings.data.image_size
        self(tf.zeros([1, size, size, 3]))
        paths = [v.path for v in self.variables]
        if len(set(paths)) != len(paths):
            raise AssertionError(
                "variables share a path: "
                + ", ".join(sorted({p for p in paths if paths.count(p) > 1}))
            )

    def exported_layers(self):
        """The layers that `call` uses: what is exported, counted, and restored of a finished run."""
        return [
            part
            for part in (self.encoder, self.projection_head, self.supervised_head)
            if part is not None
        ]

    def num_parameters(self):
        """Parameters of the network, see `layers.num_parameters`."""
        return sum(num_parameters(part) for part in self.exported_layers())

    def build(self, shape):
        """Nothing: each part makes its variables when it is first called."""

    def call(self, images, training=False):
        """The endpoints of the encoder, `proj_head_input`, `proj_head_output` and, with a supervised head, `logits_sup`."""
        endpoints = self.encoder(images, training=training)
        features = self.projection_head(endpoints["final_avg_pool"], training=training)
        endpoints = {**endpoints, "proj_head_input": features[0], "proj_head_output": features[-1]}
        if self.supervised_head is not None:
            endpoints["logits_sup"] = self.supervised_head(
                features[self.settings.model.ft_proj_selector]
            )
        return endpoints

    def layer_features(self, images):
        """The features of all layers in inference mode: {name: float32 [B, C]}, of feature maps the mean over space; with a supervised head `logits_sup`."""
        endpoints = self.encoder(images, training=False)
        found = {
            name: tf.cast(endpoints[name], tf.float32)
            for name in ENCODER_LAYERS
            if name in endpoints
        }
        found = {
            name: value if len(value.shape) == 2 else tf.reduce_mean(value, [1, 2])
            for name, value in found.items()
        }
        head = self.projection_head(endpoints["final_avg_pool"], training=False)
        found |= {
            f"proj_head_{layer}": tf.cast(value, tf.float32)
            for layer, value in enumerate(head)
            if layer
        }
        if self.supervised_head is not None:
            found["logits_sup"] = self.supervised_head(head[self.settings.model.ft_proj_selector])
        return found

    def predictions(self, images, training=False):
        """As `call`, see `with_answers`."""
        return with_predictions(self(images, training=training))

    def head_input(self, features, training=False):
        """What the supervised head reads of the encoder's features [B, C]: layer `ft_proj_selector` of the projection head."""
        return self.projection_head(features, training=training)[
            self.settings.model.ft_proj_selector
        ]
