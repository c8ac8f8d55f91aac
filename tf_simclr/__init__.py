"""SimCLR and SimCLRv2 in TensorFlow 2 and Keras 3.

Importing the package sets what has to be set before TensorFlow is imported, and imports nothing
heavy itself.
"""

import os
import platform

from tf_simclr.config.version import __version__ as __version__

# Set to nothing, Keras would take that of its own configuration.
os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if platform.machine() in ("x86_64", "AMD64"):
    # TensorFlow leaves oneDNN off on CPUs without VNNI, where it still doubles the speed of
    # convolutions.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def load(path, image_size: int | None = None, *, offline: bool = False):
    """Loads a trained model.

    Args:
        path: run directory, checkpoint prefix in one, or SavedModel, also of the original SimCLR
            release; or the name of a published model, such as
            "simclrv2:r50_1x_sk0/finetuned_100pct", which is downloaded once.
        image_size: height and width in pixels that images are brought to; None: the one trained
            on, 224 for a SavedModel of the original SimCLR release without the flags.json of its
            run. With another one there is no calibration, which was fitted at that size.
        offline: whether published models are taken from the cache alone.

    Returns:
        A `tf_simclr.api.Model` with `.embed(images)`, `.predict(images)` and
        `.endpoints(images)`.

    Raises:
        tf_simclr.errors.UserError: there is no such model, it is damaged, or KERAS_BACKEND is not
            tensorflow.
    """
    from tf_simclr import console

    console.check_backend()
    from tf_simclr import api  # late: `import tf_simclr` must not import TensorFlow

    return api.load(path, image_size, offline)


def train(images, model_dir, *, minutes: float = 30, labels=None, **flags):
    """Learns a classifier from images, or an encoder where there are no labels, in a given time.

    What `python run.py FOLDER --budget=...` does: a recipe is planned for the images and this
    machine, trained, evaluated beside baselines and exported. The same call again resumes.

    Args:
        images: path of a folder of images, or the name of a data set such as "digits".
        model_dir: the run directory; `report.html` is written there.
        minutes: how long everything may take.
        labels: a table of labels, "none", or "": the folders are the classes; None: as a recipe
            says, "" without one.
        **flags: any flag of `run.py`, e.g. `image_size=64`; they win over what is planned.
            Neither `plan` nor a `mode` that evaluates nothing.

    Returns:
        The model that the report advises to use, as `load` returns it.

    Raises:
        tf_simclr.errors.UserError: what is given can't be trained on.
    """
    from tf_simclr.commands import one_call

    directory = one_call.train(images, model_dir, minutes=minutes, labels=labels, flags=flags)
    return load(directory)


def resnet(
    depth: int | None = None,
    width: float | None = None,
    sk_ratio: float | None = None,
    se_ratio: float | None = None,
    image_size: int | None = None,
    stem: str | None = None,
    weights=None,
):
    """A ResNet encoder as a plain `keras.Model`, see `tf_simclr.models.resnet.build`.

    Args:
        depth: 18, 34, 50, 101, 152 or 200; None: 50.
        width: factor on all numbers of channels; None: 1.
        sk_ratio: selective-kernel ratio; None: off.
        se_ratio: squeeze-and-excite ratio; None: off.
        image_size: height and width of the images; None: 224.
        stem: cifar (keeps the resolution), imagenet (a quarter of it), or auto: cifar for images
            of up to 32 pixels; None: auto.
        weights: trained ones, as `load` takes them, which then stand for every None; None: random
            ones.

    Returns:
        A model: images float32 [B, H, W, 3] in [0, 1] -> features [B, C].

    Raises:
        ValueError: a depth that does not exist, or weights of another network.
        tf_simclr.errors.UserError: there are no such weights, or KERAS_BACKEND is not tensorflow.
    """
    from tf_simclr import console

    console.check_backend()
    given = {
        "depth": depth,
        "width": width,
        "sk_ratio": sk_ratio,
        "se_ratio": se_ratio,
        "image_size": image_size,
        "stem": stem,
    }
    if weights is not None:
        from tf_simclr import api

        return api.trained_resnet(weights, **given)
    from tf_simclr.models import resnet

    return resnet.build(**{name: value for name, value in given.items() if value is not None})
