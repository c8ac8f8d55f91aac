"""Tiny published backbones, made of configurations: nothing is downloaded."""

import json

import keras
import keras_hub

from tests.helpers.seeds import seed_of_weights

SIZE = 16  # of their images, in pixels
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
LICENSE = "a license of its own"


def vit():
    return keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        dropout_rate=0.1,
        attention_dropout=0.1,
    )


def dino():
    return keras_hub.models.DINOV2Backbone(
        patch_size=4,
        num_layers=4,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        num_register_tokens=1,
        drop_path_rate=0.1,
        image_shape=(24, 24, 3),
        position_embedding_shape=(24, 24, 3),
    )


def resnet():
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )


def text():
    return keras_hub.models.BertBackbone(
        vocabulary_size=9,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
        max_sequence_length=8,
    )


def encoder_of_keras():
    """An image encoder of plain Keras layers, with pooled features."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", name="first"),
            keras.layers.Dropout(0.5),
            keras.layers.Conv2D(6, 3, name="second"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def save(folder):
    """Writes all of them into `folder`."""
    with seed_of_weights(1):
        _save_networks(folder)
    converter = keras_hub.layers.DINOV2ImageConverter(
        image_size=(24, 24),
        scale=[1 / 255 / std for std in STD],
        offset=[-mean / std for mean, std in zip(MEAN, STD)],
    )
    converter.save_to_preset(str(folder / "dino"))
    metadata = folder / "dino" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "license": LICENSE}))
    (folder / "resnet" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A network\n")


def _save_networks(folder):
    for make in (vit, dino, resnet, text):
        make().save_to_preset(str(folder / make.__name__))
    encoder_of_keras().save(folder / "encoder.keras")
