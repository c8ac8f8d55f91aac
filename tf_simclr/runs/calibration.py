"""How sure a classifier may be: calibration.json, calibration.npz, and their use.

`evaluation.calibration` fits it, an evaluation writes it, and whatever classifies images reads it.
"""

import dataclasses
import hashlib
import io
import json
import zipfile

import numpy as np
from absl import logging
from etils import epath
from scipy.special import softmax

from tf_simclr.errors import UserError
from tf_simclr.runs import files

NUM_INTERVALS = 100  # between the quantiles of the distances
UNLIKE_ANYTHING = 0.99  # the novelty above which an image is unlike anything that was seen
TINY = 1e-9  # the least width of an interval between two quantiles
BLOCK_SIZE = 4096  # images that are compared with the reference at once
ARRAYS = ("confidence", "correct", "reference")  # in calibration.npz; the rest is JSON
# What reading a damaged file raises.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile)


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What turns the outputs of a classifier into probabilities that one can act on.

    Attributes:
        step: of the training, whose weights it is of.
        labels_of: which labels it was fitted on, in words.
        num_labels: how many these are.
        temperature: the logits are divided by it; None: it was not fitted, and 1 is used.
        precision: wanted of the predictions that are not unsure.
        threshold: the least probability of those predictions; None: none is known.
        num_images: whose distances to the reference `quantiles` are of.
        quantiles: of the distances, from the least to the greatest, `NUM_INTERVALS` + 1 numbers;
            None: there is no reference.
        notes: what is missing and why, a line each.
        confidence: float32 [N], the probability of the predicted class of the images with a label.
        correct: bool [N], whether that class is theirs.
        reference: float32 [R, C], features of training images at length 1; None: there are none.
    """

    step: int
    labels_of: str
    num_labels: int
    temperature: float | None
    precision: float
    threshold: float | None
    num_images: int
    quantiles: tuple[float, ...] | None
    notes: tuple[str, ...]
    confidence: np.ndarray
    correct: np.ndarray
    reference: np.ndarray | None

    @property
    def lines(self) -> list[str]:
        """What it says, a line each: what was fitted, and what is missing."""
        lines = []
        if self.temperature is not None:
            lines.append(f"temperature {self.temperature:.3g}")
        if self.threshold is not None:
            is_sure = self.confidence >= np.float32(self.threshold)
            lines.append(
                f"threshold {self.threshold:.3f} for a precision of {self.precision:.4g}: "
                f"{is_sure.sum()} of {len(is_sure)} labels are above it, "
                f"{self.correct[is_sure].mean():.1%} of their predictions right"
            )
        return [*lines, *self.notes]

    @property
    def fingerprint(self) -> str:
        """A text that changes with what it makes of outputs."""
        digest = hashlib.sha256()
        if self.reference is not None:
            digest.update(self.reference.tobytes())
        return f"{self.temperature} {self.threshold} {self.quantiles} {digest.hexdigest()}"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The calibrated probabilities of the classes, float32 [N, num_classes], of logits."""
        return softmax(logits / np.float32(self.temperature or 1), axis=1)

    def unsure(self, confidence: np.ndarray) -> np.ndarray | None:
        """Whether predictions are below the threshold.

        Args:
            confidence: float32 [N], the calibrated probability of the predicted class.

        Returns:
            bool [N]; None without a threshold.
        """
        return None if self.threshold is None else confidence < np.float32(self.threshold)

    def novelty(self, features: np.ndarray) -> np.ndarray | None:
        """How unlike the training images are others, from 0 to 1.

        Args:
            features: float32 [N, C] of the encoder's output.

        Returns:
            float32 [N], the share of held-out images that are nearer to a training image, linear
            between the quantiles; None without a reference.
        """
        if self.reference is None:
            return None
        quantiles = np.array(self.quantiles, np.float32)
        widths = np.maximum(np.diff(quantiles), np.float32(TINY))
        distances = nearest_distances(features, self.reference)
        exceeded = np.clip((distances[:, None] - quantiles[:-1]) / widths, 0, 1)
        return exceeded.mean(1)


def nearest_distances(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The distances of features on the unit sphere to the nearest of a reference.

    Args:
        features: float32 [N, C].
        reference: float32 [R, C], at length 1.

    Returns:
        float32 [N].
    """
    distances = [np.zeros(0, np.float32)]
    for start in range(0, len(features), BLOCK_SIZE):
        unit = at_unit_length(features[start : start + BLOCK_SIZE])
        nearest = reference[(unit @ reference.T).argmax(1)]
        # Of the difference itself: 2 - 2 cosine has few digits left where both are close.
        distances.append(np.linalg.norm(unit - nearest, axis=1))
    return np.concatenate(distances)


def at_unit_length(features: np.ndarray) -> np.ndarray:
    """Features [N, C] at length 1; zeros stay zeros."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def write(directory: epath.Path, calibration: Calibration):
    """Writes a calibration into a run directory or the assets of an export."""
    values = dataclasses.asdict(calibration)
    arrays = {name: values.pop(name) for name in ARRAYS}
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    files.write_bytes(directory / files.CALIBRATION_ARRAYS, file.getvalue())
    files.write_text(directory / files.CALIBRATION, json.dumps(values, indent=2) + "\n")


def read(directory: epath.Path) -> Calibration | None:
    """The calibration in a run directory or in the assets of an export; None if there is none.

    Raises:
        UserError: it can't be read.
    """
    values = files.read_json(directory / files.CALIBRATION)
    if values is None:
        return None
    path = directory / files.CALIBRATION_ARRAYS
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            values |= {name: arrays.get(name) for name in ARRAYS}
        values["notes"] = tuple(values["notes"])
        values["quantiles"] = values["quantiles"] and tuple(values["quantiles"])
        return Calibration(**values)
    except UNREADABLE as error:
        raise UserError(
            f"{path}: the calibration can't be read ({error}); --mode=eval of the run writes it "
            f"again; without {files.CALIBRATION} beside it there is none"
        ) from None


def of_weights(directory: epath.Path, step: int) -> Calibration | None:
    """The calibration beside weights; None if there is none, or it is of other weights.

    Args:
        directory: of the run, or the assets of an export.
        step: of the weights of a run.

    Raises:
        UserError: it can't be read.
    """
    saved = read(directory)
    is_of_export = directory.name == files.ASSETS  # which has that of its weights
    if saved is None or is_of_export or saved.step == step:
        return saved
    logging.info(
        "%s is of step %d and the weights are of step %d, so it is left out; --mode=eval of the "
        "run writes a new one",
        directory / files.CALIBRATION,
        saved.step,
        step,
    )
    return None
