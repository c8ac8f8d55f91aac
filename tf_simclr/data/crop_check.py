"""How much of the images the central crop of evaluation cuts off."""

import numpy as np
from absl import logging

from tf_simclr.config.automatic import Preprocessing, is_small
from tf_simclr.data.augment import CROP_PROPORTION
from tf_simclr.data.image_sizes import sizes_of
from tf_simclr.data.source import Source

MAX_CUT_OFF = 0.3  # share of the area; of square images 0.23 is cut off


def warn_of_cropping(source: Source, preprocessing: Preprocessing):
    """Logs how much of the images evaluation does not see, where it is much.

    Args:
        source: the sizes of some of its images are looked at.
        preprocessing: how they are evaluated.
    """
    if preprocessing.eval_crop != "centre" or is_small(preprocessing.size):
        return
    sizes = sizes_of(source, seed=0)
    if not len(sizes):
        return
    shares = cut_off(sizes)
    if shares.mean() > MAX_CUT_OFF:
        logging.warning(
            "--eval_crop=centre: evaluation, embedding and exports do not see %.0f%% of the area "
            "of the images (mean of %d of split %s, at most %.0f%%); --eval_crop=whole or pad "
            "shows all of it",
            100 * shares.mean(),
            len(shares),
            source.split,
            100 * shares.max(),
        )


def cut_off(sizes: np.ndarray) -> np.ndarray:
    """The share of each image's area that the central crop cuts off.

    Args:
        sizes: int [N, 2], heights and widths.

    Returns:
        float64 [N].
    """
    sides = CROP_PROPORTION * sizes.min(1)
    return 1 - sides**2 / sizes.astype(float).prod(1)
