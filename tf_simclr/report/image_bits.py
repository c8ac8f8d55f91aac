"""A yes or no for each evaluated image in results.json: which of them were right, which are copies.

Two lists of the same images can be compared image by image.
"""

import base64
import binascii
import hashlib

import numpy as np

# Images that are kept: 17 kB of text; beyond, those at even distances stand for all.
MAX_IMAGES = 100_000
KIND = {"images": int, "labels": str, "bits": str}  # in results.json


def pack(values: np.ndarray, labels: np.ndarray) -> dict:
    """The form in which a yes or no for each image is saved.

    Args:
        values: bool [N], of the evaluated images in their order.
        labels: int [N], which tell other images, or another order, from these.

    Returns:
        {"images": N, "labels": the start of their SHA-256, "bits": at most `MAX_IMAGES` of the
        values, 8 a byte, the first in the highest bit, as base64}.
    """
    bits = np.packbits(values[kept_positions(len(values))])
    digest = hashlib.sha256(np.asarray(labels, "<i8").tobytes()).hexdigest()
    return {
        "images": len(values),
        "labels": digest[:16],
        "bits": base64.b64encode(bits.tobytes()).decode(),
    }


def kept_positions(num_images: int) -> np.ndarray:
    """int64 [min(num_images, MAX_IMAGES)]: the images whose values are kept, ascending."""
    num_kept = min(num_images, MAX_IMAGES)
    return np.arange(num_kept) * num_images // max(num_kept, 1)


def unpack(saved: dict) -> np.ndarray | None:
    """bool [min(N, MAX_IMAGES)] of what `pack` has returned; None where it is damaged."""
    num_kept = min(saved["images"], MAX_IMAGES)
    try:
        content = base64.b64decode(saved["bits"], validate=True)
    except (binascii.Error, ValueError):
        return None
    if num_kept < 1 or len(content) != -(-num_kept // 8):
        return None
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    return bits[:num_kept].astype(bool)
