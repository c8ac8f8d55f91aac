"""A plain ResNet of Keras with the weights of a trained encoder."""

import keras

from tf_simclr.checkpoints.pretrained import Pretrained
from tf_simclr.config.backbones import RESNET
from tf_simclr.models import resnet

FLAGS_OF_RESNET = {  # by argument of `resnet.build`
    "depth": "resnet_depth",
    "width": "width_multiplier",
    "sk_ratio": "sk_ratio",
    "se_ratio": "se_ratio",
    "stem": "stem",
}


def build(trained: Pretrained, name: str, given: dict) -> keras.Model:
    """The encoder of trained weights.

    Args:
        trained: the weights.
        name: what they are called in messages.
        given: {argument of `resnet.build`: value}; None: as the weights are.

    Raises:
        ValueError: they are of another network than is given.
    """
    flags = trained.settings.resolved()
    if flags["backbone"] != RESNET:
        raise ValueError(
            f"the weights in {name} are of --backbone={flags['backbone']}, which is no single "
            "ResNet; tf_simclr.load(...).keras_model() is a model of them"
        )
    arguments = {argument: flags[flag] for argument, flag in FLAGS_OF_RESNET.items()}
    different = [
        f"{argument}={value}"
        for argument, value in given.items()
        if value is not None and argument != "image_size" and arguments[argument] != value
    ]
    if different:
        known = ", ".join(f"{each}={arguments[each]}" for each in given if each in arguments)
        raise ValueError(f"{', '.join(different)}: the weights in {name} are of {known}")
    arguments["image_size"] = given.get("image_size") or flags["image_size"]
    model = resnet.build(**arguments)
    model.get_layer(trained.network.encoder.name).set_weights(trained.network.encoder.get_weights())
    return model
