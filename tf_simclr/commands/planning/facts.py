"""What a plan depends on: number, sizes, colors and labels of the images. No TensorFlow."""

import dataclasses
from collections.abc import Mapping

import numpy as np

MAX_TINT = 8  # of 255: the channels of a gray image differ by less, JPEG's rounding included
MOST = 0.95  # of the images that are gray make all of them gray
BACKGROUND_RANGE = 24  # of 255, around black or white
MIN_BACKGROUND = 0.5  # of the border of a drawn character is background
MOST_DRAWN = 0.8  # of the images that look drawn
RARE = 5  # times fewer labels than the most frequent class has
MOSTLY = 0.5  # share of the images


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a plan depends on.

    Attributes:
        num_images: that are trained on.
        num_labels: of them that are used.
        class_counts: labels of each class, of those that are used; empty where not known.
        num_evaluated: images that are evaluated.
        short_side: median of the shorter sides in pixels.
        is_gray: whether the images have no colors.
        is_drawn: whether they look like characters: strokes on a black or white background.
        batch_size: images a step, where it is given; 0: it follows from the rest.
        stage_batches: {training mode: images a step}, where it is given for a stage.
    """

    num_images: int
    num_labels: int
    class_counts: tuple[int, ...]
    num_evaluated: int
    short_side: int
    is_gray: bool = False
    is_drawn: bool = False
    batch_size: int = 0
    stage_batches: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def has_classes(self) -> bool:
        """Whether labels tell images apart: of two classes or more, where it is known."""
        with_labels = [count for count in self.class_counts if count]
        return bool(self.num_labels) and len(with_labels) != 1

    @property
    def has_rare_class(self) -> bool:
        """Whether a class that has labels has a small part of those of the most frequent one."""
        counts = [count for count in self.class_counts if count]
        return bool(counts) and max(counts) >= RARE * min(counts)

    @property
    def is_mostly_unlabeled(self) -> bool:
        """Whether there are enough images without a label for a student to learn more from."""
        return self.num_labels <= MOSTLY * self.num_images


def are_gray(images: np.ndarray) -> bool:
    """Whether nearly all images have no colors.

    Args:
        images: uint8 [N, H, W, 3].
    """
    channels = images.astype(int)
    tint = channels.max(-1) - channels.min(-1)  # [N, H, W]
    is_gray = tint.max(axis=(1, 2)) < MAX_TINT
    return bool(is_gray.mean() >= MOST)


def are_drawn(images: np.ndarray) -> bool:
    """Whether most images look like characters: gray, and most of their border black or white.

    Args:
        images: uint8 [N, H, W, 3].
    """
    if not are_gray(images):
        return False
    gray = images.mean(-1)  # [N, H, W]
    edges = (gray[:, 0], gray[:, -1], gray[:, :, 0], gray[:, :, -1])
    border = np.concatenate(edges, axis=1)  # [N, 2 H + 2 W]
    black_share = (border <= BACKGROUND_RANGE).mean(axis=1)
    white_share = (border >= 255 - BACKGROUND_RANGE).mean(axis=1)
    has_background = np.maximum(black_share, white_share) >= MIN_BACKGROUND
    return bool(has_background.mean() >= MOST_DRAWN)
