"""How alike two images are as pictures: small gray thumbnails, aligned over small crops."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 32  # pixels of a thumbnail
# Smaller images have no details by which copies could be told from pictures of the same kind: of
# 1,437 digits of 8x8 pixels 5,245 pairs would be copies.
MIN_IMAGE_SIDE = 24
SMALLEST = 26  # side of what a thumbnail shows of another one: a crop to 80% of each side
# Differences of two Gaussians (in pixels of a thumbnail): neither the noise of JPEG, nor brightness
# and the large areas that very different pictures of sky and sea have in common.
FINE, COARSE = 0.7, 2.0
LEAST_CONTRAST = 0.5  # gray levels; pictures with less have nothing to compare
ROUGH_BLUR = 2.0  # of the rough comparison, without alignment
ROUGH_STEP = 2  # every second pixel is enough for it
BLOCK = 256  # pairs that are compared at once

ThumbnailsOf = Callable[[np.ndarray], np.ndarray]
"""A function: positions int64 [n] -> their gray thumbnails uint8 [n, SIDE, SIDE]."""


def gray_thumbnail(image: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3] as uint8 [SIDE, SIDE], in gray."""
    gray = Image.fromarray(image).convert("L")
    return np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def rough_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The correlation of blurred thumbnails as they lie, which sorts most pairs out.

    Args:
        first: uint8 [n, SIDE, SIDE].
        second: likewise.

    Returns:
        float32 [n], from -1 to 1.
    """
    return np.sum(_rough(first) * _rough(second), 1)


def _rough(thumbnails):
    blurred = _blurred(thumbnails.astype(np.float32), ROUGH_BLUR)
    pixels = blurred[:, ::ROUGH_STEP, ::ROUGH_STEP].reshape(len(thumbnails), -1)
    centered = pixels - pixels.mean(1, keepdims=True)
    contrast = np.linalg.norm(centered, axis=1, keepdims=True)
    return centered / np.maximum(contrast, LEAST_CONTRAST)


def aligned_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest correlation of two pictures, where either may be a crop of the other.

    It does not depend on brightness and contrast (normalized cross-correlation). Pictures without
    contrast are similar to none.

    Args:
        first: uint8 [n, SIDE, SIDE].
        second: likewise.

    Returns:
        float32 [n], from -1 to 1.
    """
    similarities = [np.zeros(0, np.float32)]
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        one_way = _crop_similarity(first[block], second[block])
        other_way = _crop_similarity(second[block], first[block])
        similarities.append(np.maximum(one_way, other_way))
    return np.concatenate(similarities)


def _crop_similarity(wholes, crops):
    """How well each of the crops, made smaller, fits somewhere into its whole."""
    wholes = _details(wholes.astype(np.float32))
    crops = crops.astype(np.float32)
    best = np.full(len(wholes), -1, np.float32)
    for side in range(SMALLEST, SIDE + 1):
        resize = _resizing(side)
        small = _details(resize @ crops @ resize.T)  # [n, side, side]
        best = np.maximum(best, _best_match(wholes, small))
    return best


def _best_match(wholes, small):
    """The largest normalized cross-correlation over all positions of `small` in `wholes`."""
    shape = small.shape[1:]
    axes = (1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(wholes, shape, axes)  # [n, Y, X, side, side]
    products = np.einsum("nyxhw,nhw->nyx", windows, small)
    squares = np.lib.stride_tricks.sliding_window_view(np.square(wholes), shape, axes)
    energy = np.einsum("nyxhw->nyx", squares)
    least = np.square(LEAST_CONTRAST) * small[0].size
    small_energy = np.square(small).sum(axes)[:, None, None]
    scale = np.sqrt(np.maximum(energy, least) * np.maximum(small_energy, least))
    return np.max(products / scale, axes)


def _resizing(side):
    """The matrix float32 [side, SIDE] that makes columns of pixels smaller."""
    identity = Image.fromarray(np.eye(SIDE, dtype=np.float32))
    return np.asarray(identity.resize((SIDE, side), Image.Resampling.BICUBIC))


def _details(thumbnails):
    return _blurred(thumbnails, FINE) - _blurred(thumbnails, COARSE)


def _blurred(thumbnails, sigma):
    return ndimage.gaussian_filter(thumbnails, (0, sigma, sigma))
