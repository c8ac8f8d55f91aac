"""SimCLR and SimCLRv2 in TensorFlow 2 and Keras 3.

Importing the package sets what has to be set before TensorFlow is imported, and imports nothing heavy itself.
"""

import os
import platform

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if platform.machine() in ("x86_64", "AMD64"):
    # TensorFlow leaves oneDNN off on CPUs without VNNI, where it still doubles the speed of convolutions.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def load(path, image_size=None):
    """A trained model with `.embed(images)`, `.predict(images)` and `.endpoints(images)`, see `tf_simclr.api.Model`.

    Args:
        path: run directory, checkpoint prefix in one, or SavedModel, also one of the papers' code.
        image_size: height and width in pixels that images are brought to; None: the one trained on, 224 for a SavedModel of the papers' code.

    Raises:
        tf_simclr.config.UserError: there is no such model, or it is damaged.
    """
    from tf_simclr import api  # late: `import tf_simclr` must not import TensorFlow

    return api.load(path, image_size)


def resnet(depth=50, width=1.0, sk_ratio=0.0, se_ratio=0.0, image_size=224):
    """A ResNet encoder as a plain `keras.Model`: images [B, H, W, 3] in [0, 1] -> features [B, C].

    See `tf_simclr.models.resnet.build` for the arguments.
    """
    from tf_simclr.models import resnet

    return resnet.build(depth, width, sk_ratio, se_ratio, image_size)
