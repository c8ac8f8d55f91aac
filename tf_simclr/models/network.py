"""Encoder, projection head and linear classifier: what is trained, evaluated and exported."""

import keras
import numpy as np
import tensorflow as tf

from tf_simclr.config import Config, backbones, rules
from tf_simclr.config.registry import ENCODER_LAYERS
from tf_simclr.models import architecture, keras_model
from tf_simclr.models.heads import ProjectionHead, SupervisedHead
from tf_simclr.models.lab import LabEncoder
from tf_simclr.models.layers import Composite, batch_norm_variables, num_parameters
from tf_simclr.models.published import PublishedEncoder
from tf_simclr.models.resnet import ResNet

NETWORK = "model"
ENCODER = "encoder"
# {layer: what it is called in the names of exported variables}, as in the original SimCLR release.
EXPORTED_NAMES = {
    ENCODER: "resnet",
    "projection_head": "projection_head",
    "supervised_head": "head_supervised/linear_layer",
}


def make_encoder(settings: Config, scope: str = NETWORK) -> ResNet | LabEncoder | PublishedEncoder:
    """The encoder f that the model section of the configuration describes.

    Args:
        settings: the whole configuration; the `architecture` of a published backbone is known.
        scope: name of the layer that it is a part of.
    """
    model = settings.model
    if backbones.is_published(model.backbone):
        return PublishedEncoder(
            architecture.of(model.backbone).with_input(model.backbone_input),
            settings.data.image_size,
            global_bn=model.global_bn,
            scope=f"{scope}/{ENCODER}",
            name=ENCODER,
        )
    kind = LabEncoder if settings.backbone == backbones.LAB else ResNet
    return kind(
        depth=model.resnet_depth,
        width=model.width_multiplier,
        sk_ratio=model.sk_ratio,
        se_ratio=model.se_ratio,
        image_size=settings.data.image_size,
        stem=model.stem,
        batch_norm_decay=model.batch_norm_decay,
        global_bn=model.global_bn,
        rematerialize=settings.train.rematerialize,
        name=ENCODER,
    )


def make_projection_head(
    settings: Config, keep: int | None = None, name: str = "projection_head"
) -> ProjectionHead:
    """The projection head g that the model section describes, or its first `keep` layers."""
    model = settings.model
    return ProjectionHead(
        num_layers=rules.projection_head_layers(settings.flat()),
        out_dim=model.proj_out_dim,
        keep=keep,
        batch_norm_decay=model.batch_norm_decay,
        global_bn=model.global_bn,
        name=name,
    )


def with_predictions(outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The outputs of a network in float32, with `embedding` and `probabilities`.

    `embedding` is `final_avg_pool`; `probabilities` are there where there is `logits_sup`.
    """
    outputs = {name: tf.cast(value, tf.float32) for name, value in outputs.items()}
    outputs["embedding"] = outputs["final_avg_pool"]
    if "logits_sup" in outputs:
        outputs["probabilities"] = tf.nn.softmax(outputs["logits_sup"])
    return outputs


def encoder_features(endpoints: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """{layer: float32 [B, C]} of the `ENCODER_LAYERS`, of feature maps the mean over space."""
    features = {}
    for layer in ENCODER_LAYERS:
        if layer in endpoints:
            value = tf.cast(endpoints[layer], tf.float32)
            is_map = len(value.shape) > 2
            features[layer] = tf.reduce_mean(value, [1, 2]) if is_map else value
    return features


class FrozenNetwork:
    """A published network as it is, to compare with.

    Args:
        encoder: with its weights. Images of another size are resized for it, see `resized`.
    """

    def __init__(self, encoder: PublishedEncoder):
        self.encoder = encoder

    def layer_features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Network.layer_features`."""
        images = resized(images, self.encoder.image_size)
        return encoder_features(self.encoder(images, training=False))


def resized(images: tf.Tensor, size: int) -> tf.Tensor:
    """Images of another size, bilinear and antialiased.

    XLA has no kernel for antialiasing in `tf.image.resize`: what is reduced is two matrix products,
    and what is enlarged has nothing to antialias.

    Args:
        images: float32 [B, S, S, C].
        size: height and width of the result.

    Returns:
        float32 [B, size, size, C].
    """
    old_size = images.shape[1]
    if size == old_size:
        return images
    if size > old_size:
        return tf.image.resize(images, [size, size])
    scale = old_size / size
    centers = (np.arange(size)[:, None] + 0.5) * scale - 0.5  # in pixels of the images
    distances = np.abs(np.arange(old_size) - centers) / scale  # [size, S]
    triangles = np.maximum(0, 1 - distances)
    shares = triangles / triangles.sum(1, keepdims=True)
    weights = tf.constant(shares, images.dtype)
    return tf.einsum("ij,bjkc,lk->bilc", weights, images, weights)


class Network(Composite):
    """Images [B, H, W, 3] in [0, 1] -> dict of all named outputs (SimCLRv2 section 2).

    Args:
        settings: the whole configuration.
        num_classes: outputs of the supervised head; 0: no such head.
        name: the same for all that is exported, so that variables keep their paths from stage to
            stage.
    """

    def __init__(self, settings: Config, num_classes: int, name: str = NETWORK):
        super().__init__(name=name)
        self.settings = settings
        self.encoder = make_encoder(settings, name)
        self.projection_head = make_projection_head(settings, settings.head_layers)
        self.supervised_head = None
        if num_classes:
            zero_init = settings.model.zero_init_logits_layer
            self.supervised_head = SupervisedHead(num_classes, zero_init)

    def build_variables(self):
        """Makes all variables.

        Raises:
            AssertionError: two of them have one path, by which checkpoints go.
        """
        size = self.settings.data.image_size
        self(tf.zeros([1, size, size, 3]))
        paths = [v.path for v in self.variables]
        if len(set(paths)) != len(paths):
            shared = sorted({path for path in paths if paths.count(path) > 1})
            raise AssertionError(f"variables share a path: {', '.join(shared)}")

    def exported_layers(self) -> list[keras.layers.Layer]:
        """The layers that `call` uses: what is exported, counted, and restored of a run."""
        layers = (self.encoder, self.projection_head, self.supervised_head)
        return [layer for layer in layers if layer is not None]

    def exported_names(self) -> dict[str, str]:
        """How the variables are called in exports; their paths stay what they are.

        Programs that were written for the original SimCLR release choose variables by the words
        `batch_normalization`, `bias` and `head_supervised`.

        Returns:
            {path: name}; no two names are the same.
        """
        names = {}
        for layer in self.exported_layers():
            norms = batch_norm_variables(layer)
            for v in layer.variables:
                inside, attribute = v.path.split(f"/{layer.name}/", 1)[1].rpartition("/")[::2]
                words = [EXPORTED_NAMES[layer.name], inside, attribute]
                if id(v) in norms:
                    words.insert(2, "batch_normalization")
                names[v.path] = "/".join(filter(None, words))
        return names

    def num_parameters(self) -> int:
        """Parameters of the network, see `layers.num_parameters`."""
        return sum(num_parameters(layer) for layer in self.exported_layers())

    def call(self, images, training=False):
        """All named outputs.

        Returns:
            The endpoints of the encoder, `proj_head_input`, `proj_head_output` and, with a
            supervised head, `logits_sup`.
        """
        endpoints = self.encoder(images, training=training)
        features = self.projection_head(endpoints["final_avg_pool"], training=training)
        endpoints = {
            **endpoints,
            "proj_head_input": features[0],
            "proj_head_output": features[-1],
        }
        if self.supervised_head is not None:
            head_input = features[self._selected_layer]
            if self.settings.objective.train_mode == "pretrain":
                # A classifier on the side, which must not teach the encoder anything about labels.
                head_input = tf.stop_gradient(head_input)
            endpoints["logits_sup"] = self.supervised_head(head_input)
        return endpoints

    @property
    def _selected_layer(self):
        """The layer of the projection head that the supervised head reads."""
        return self.settings.model.ft_proj_selector

    def layer_features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The features of all layers in inference mode.

        Args:
            images: float32 [B, S, S, 3] in [0, 1].

        Returns:
            {layer: float32 [B, C]}, of feature maps the mean over space; with a supervised head
            also `logits_sup`.
        """
        endpoints = self.encoder(images, training=False)
        features = encoder_features(endpoints)
        projections = self.projection_head(endpoints["final_avg_pool"], training=False)
        for number, value in enumerate(projections):
            if number:
                features[f"proj_head_{number}"] = tf.cast(value, tf.float32)
        if self.supervised_head is not None:
            features["logits_sup"] = self.supervised_head(projections[self._selected_layer])
        return features

    def predictions(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """As `call`, see `with_predictions`."""
        return with_predictions(self(images, training=training))

    def keras_model(self, outputs: str = "features", trainable: bool = True) -> keras.Model:
        """As a functional model of Keras' own layers, see `keras_model.build`."""
        return keras_model.build(self, outputs, trainable)

    def head_input(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What the supervised head reads: layer `ft_proj_selector` of the projection head.

        Args:
            features: [B, C] of the encoder.
            training: whether batch norm uses the batch's statistics.
        """
        return self.projection_head(features, training=training)[self._selected_layer]
