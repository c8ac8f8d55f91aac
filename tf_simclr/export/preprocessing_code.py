"""The preprocessing of a model as a few lines of PIL and NumPy, for its model card."""

from tf_simclr.config.automatic import Preprocessing, is_small

# {--eval_crop: what happens to images}.
WORDS = {
    "centre": "cut to the central square of 0.875 of the shorter side and resized",
    "whole": "resized as a whole, whatever their aspect ratio is",
    "pad": "resized with their aspect ratio, with gray (128 of 255) beside them where they are not "
    "square",
}
RESIZING_WORDS = {
    "antialias": "antialiased where they are reduced",
    "original": "without antialiasing, as in the original SimCLR release",
}
# {--eval_crop: (lines before resizing to `height` x `width`, lines after it)}.
LINES = {
    "centre": (
        """
    side = max(round(0.875 * min(image.shape[:2])), 1)
    top, left = [(n - side + 1) // 2 for n in image.shape[:2]]
    image = image[top : top + side, left : left + side]
    height = width = SIZE""",
        "",
    ),
    "whole": (
        """
    height = width = SIZE""",
        "",
    ),
    "pad": (
        """
    longer = max(image.shape[:2])
    height, width = [max((2 * SIZE * n + longer) // (2 * longer), 1) for n in image.shape[:2]]""",
        """
    sides = [((SIZE - n) // 2, SIZE - n - (SIZE - n) // 2) for n in (height, width)]
    image = np.pad(image, [*sides, (0, 0)], constant_values=128)""",
    ),
}
# Of gray images with 16 bits a value, which `convert` makes white.
TOP_BYTE = "np.asarray(image) // 256"
WITHIN_RANGE = "np.clip((np.asarray(image, np.float32) - {low}) * (255 / ({high} - {low})), 0, 255)"
# {--resizing: how wide the kernel is, in pixels of the image}.
SUPPORTS = {"antialias": "max(scale, 1)", "original": "1"}


def _crop(preprocessing):
    """What is cropped in fact: nothing of small images."""
    is_cropped = preprocessing.eval_crop != "centre" or not is_small(preprocessing.size)
    return preprocessing.eval_crop if is_cropped else "whole"


def words(preprocessing: Preprocessing) -> str:
    """The preprocessing in words."""
    size = preprocessing.size
    return (
        f"{WORDS[_crop(preprocessing)]} to {size} x {size} pixels: bicubic (Keys, a = -0.5), "
        f"{RESIZING_WORDS[preprocessing.resizing]}, and scaled to [0, 1]"
    )


def code(preprocessing: Preprocessing, value_range: tuple[float, float] | None = None) -> str:
    """A Python program whose `preprocess(path)` is the preprocessing, float [S, S, 3] in [0, 1].

    Args:
        preprocessing: what is done to images.
        value_range: of images with 16 bits a value, see `data.decoding.decode`.
    """
    before, after = LINES[_crop(preprocessing)]
    gray = TOP_BYTE
    if value_range is not None:
        low, high = value_range
        gray = WITHIN_RANGE.format(low=low, high=high)
    return f"""import numpy as np
from PIL import Image, ImageOps

SIZE = {preprocessing.size}

def weights(n, size):
    scale = n / size
    centers = scale * (np.arange(size)[:, None] + 0.5)
    x = np.abs(np.arange(n) + 0.5 - centers) / {SUPPORTS[preprocessing.resizing]}
    outer = np.where(x < 2, ((2.5 - 0.5 * x) * x - 4) * x + 2, 0)
    kernel = np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, outer)
    return kernel / kernel.sum(1, keepdims=True)

def preprocess(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # gray, 16 bits; of colors Pillow takes the upper 8 bits alone
        gray = {gray}
        image = Image.fromarray(np.rint(gray).astype(np.uint8))
    image = np.asarray(image.convert("RGB"), np.float32){before}
    rows, columns = weights(len(image), height), weights(image.shape[1], width)
    image = np.stack([rows @ image[..., c] @ columns.T for c in range(3)], -1){after}
    return np.clip(image / 255, 0, 1)"""
