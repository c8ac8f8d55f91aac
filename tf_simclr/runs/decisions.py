"""What a classifier says of images: classes, probabilities, and how far they can be trusted."""

import dataclasses

import numpy as np
from scipy.special import softmax

from tf_simclr.runs.calibration import Calibration


@dataclasses.dataclass(frozen=True, eq=False)
class Decisions:
    """What is said of N images.

    Attributes:
        classes: int64 [N, K], the most probable classes, the first one first.
        probabilities: float32 [N, K] of these.
        margin: float32 [N], how much more probable the first one is than the second; of a single
            class its probability.
        unsure: bool [N], whether the first one is less probable than the threshold; None: there is
            no threshold.
        novelty: float32 [N], see `Calibration.novelty`; None: it is not known.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    margin: np.ndarray
    unsure: np.ndarray | None
    novelty: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Classification:
    """What a classifier says of an image.

    Attributes:
        class_name: of the most probable class.
        probability: of that class, calibrated where the model has a fitted temperature.
        second: name of the second class, empty if there is none.
        margin: how much more probable the first class is.
        unsure: whether it is less probable than the threshold; None: there is no threshold.
        novelty: share of held-out images that are more like the training images, above 0.99 it is
            unlike anything seen; None: not known.
    """

    class_name: str
    probability: float
    second: str
    margin: float
    unsure: bool | None
    novelty: float | None


def decide(
    logits: np.ndarray, features: np.ndarray, calibration: Calibration | None, top_k: int = 2
) -> Decisions:
    """What a classifier says of images.

    Args:
        logits: float32 [N, num_classes] of the linear head.
        features: float32 [N, C] of the encoder's output.
        calibration: of the classifier; None: the probabilities are its own.
        top_k: how many of the most probable classes; no more than there are.
    """
    if calibration is None:
        probabilities = softmax(logits, axis=1)
        novelty = None
    else:
        probabilities = calibration.probabilities(logits)
        novelty = calibration.novelty(features)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    classes = order[:, :top_k]
    best = np.take_along_axis(probabilities, classes, 1)  # [N, K]
    confidence = best[:, 0]
    second = best[:, 1] if best.shape[1] > 1 else 0
    return Decisions(
        classes=classes,
        probabilities=best,
        margin=confidence - second,
        unsure=None if calibration is None else calibration.unsure(confidence),
        novelty=novelty,
    )
