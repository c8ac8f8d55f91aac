"""How alike two images are as pictures: small gray thumbnails, aligned over small crops."""

import concurrent.futures
import functools
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from tf_simclr.data.cores import num_cores

SIDE = 32  # pixels of a thumbnail
# Smaller images have no details by which copies could be told from pictures of the same kind: of
# 1,437 digits of 8x8 pixels 5,245 pairs would be copies.
MIN_IMAGE_SIDE = 24
SMALLEST_CROP = 0.8  # of each side that a thumbnail shows of another one
# Differences of two Gaussians (in pixels of a thumbnail): neither the noise of JPEG, nor brightness
# and the large areas that very different pictures of sky and sea have in common.
FINE, COARSE = 0.7, 2.0
LEAST_CONTRAST = 0.5  # gray levels; pictures with less have nothing to compare
BLOCK = 256  # pairs that are compared at once

ThumbnailsOf = Callable[[np.ndarray], np.ndarray]
"""A function: positions int64 [n] -> their gray thumbnails uint8 [n, SIDE, SIDE]."""


def gray_thumbnail(image: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3] as uint8 [SIDE, SIDE], in gray."""
    gray = Image.fromarray(image).convert("L")
    return np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def rough_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """As `aligned_similarity`, of half the size: sorts most pairs out in a fifth of the time.

    Args:
        first: uint8 [n, SIDE, SIDE].
        second: likewise.

    Returns:
        float32 [n], from -1 to 1.
    """
    return aligned_similarity(_halved(first), _halved(second))


def _halved(thumbnails):
    """The means of 2x2 pixels."""
    half = SIDE // 2
    return thumbnails.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)


def aligned_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest correlation of two pictures, where either may be a crop of the other.

    It does not depend on brightness and contrast (normalized cross-correlation). Pictures without
    contrast are similar to none.

    Args:
        first: [n, S, S], gray values up to 255.
        second: likewise.

    Returns:
        float32 [n], from -1 to 1.
    """

    def of_block(start):
        block = slice(start, start + BLOCK)
        one_way = _crop_similarity(first[block], second[block])
        other_way = _crop_similarity(second[block], first[block])
        return np.maximum(one_way, other_way)

    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        blocks = list(pool.map(of_block, range(0, len(first), BLOCK)))
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _crop_similarity(wholes, crops):
    """How well each of the crops, made smaller, fits somewhere into its whole."""
    side = wholes.shape[1]
    wholes = _details(wholes.astype(np.float32), side)
    crops = crops.astype(np.float32)
    best = np.full(len(wholes), -1, np.float32)
    for small_side in range(round(SMALLEST_CROP * side), side + 1):
        best = np.maximum(best, _best_match(wholes, _details(crops, small_side)))
    return best


def _best_match(wholes, small):
    """The largest normalized cross-correlation over all positions of `small` in `wholes`."""
    axes = (1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(wholes, small.shape[1:], axes)
    products = np.einsum("nyxhw,nhw->nyx", windows, small)
    in_window = _window_matrix(wholes.shape[1], small.shape[1])
    energy = in_window @ np.square(wholes) @ in_window.T
    least = np.square(LEAST_CONTRAST) * small[0].size
    small_energy = np.square(small).sum(axes)[:, None, None]
    scale = np.sqrt(np.maximum(energy, least) * np.maximum(small_energy, least))
    return np.max(products / scale, axes)


@functools.cache
def _window_matrix(side, window):
    """float32 [positions, side]: sums over a window at each position."""
    offset = np.arange(side) - np.arange(side - window + 1)[:, None]
    return ((offset >= 0) & (offset < window)).astype(np.float32)


def _details(thumbnails, side):
    """Thumbnails [n, S, S] with `side` pixels a side: the difference of two blurs."""
    fine, coarse = _reducing_blurs(thumbnails.shape[1], side)
    return fine @ thumbnails @ fine.T - coarse @ thumbnails @ coarse.T


@functools.cache
def _reducing_blurs(side, small_side):
    """Two matrices float32 [small_side, side] that make columns smaller and blur them."""
    identity = Image.fromarray(np.eye(side, dtype=np.float32))
    reduced = np.asarray(identity.resize((side, small_side), Image.Resampling.BICUBIC))
    return tuple(ndimage.gaussian_filter1d(reduced, sigma, 0) for sigma in (FINE, COARSE))
