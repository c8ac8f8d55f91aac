"""Image files that TensorFlow can't read: which Pillow reads and are converted once, which not.

A converted image is a PNG in the user's cache, by path, size and time of change of its file. It may
be deleted while nothing runs.
"""

import collections
import contextlib
import hashlib
import io
import os
import pathlib
import struct
import threading

from absl import logging

from tf_simclr.config import user_cache
from tf_simclr.data.decoding import MAX_PIXELS
from tf_simclr.data.image_endings import CONVERTED
from tf_simclr.data.source import counted
from tf_simclr.errors import Failed, UserError

# {ending: name of the kind} of images that are left out.
UNREAD = {
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "camera raw"),
    ".svg": "SVG",
    ".psd": "PSD",
    ".jxl": "JPEG XL",
    ".exr": "OpenEXR",
    ".dcm": "DICOM",
    **dict.fromkeys((".nii", ".gz"), "NIfTI"),
    **dict.fromkeys((".mp4", ".mov", ".avi"), "video"),
}
HEIC_PACKAGE = "pillow-heif"
# {mode of Pillow: modes that lead to the one that it is written in}; other modes become RGB.
WRITTEN_MODES = {
    "L": ("L",),
    "1": ("L",),
    "I;16": ("I;16",),
    # Straight to I;16 Pillow would go by way of 8 bits, and cut off what is above 255.
    "I;16L": ("I", "I;16"),
    "I;16B": ("I", "I;16"),
}
# What Pillow may read, whatever the ending says: other formats may start programs, as EPS does. TGA
# is last since it has no signature.
FORMATS = ("TIFF", "AVIF", "JPEG2000", "PPM", "JPEG", "PNG", "BMP", "GIF", "WEBP", "TGA")
CONVERSION = 2  # to be raised when files become other PNGs than before
# What Pillow raises of damaged files; RuntimeError of AVIF.
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    struct.error,
)
MANY_VALUED_MODES = ("I", "F")  # 32 bits a value
TIFF_BITS_PER_SAMPLE = 258  # number of a tag
TIFF_EXTRA_SAMPLES = 338
TIFF_ALPHA = (1, 2)  # values of it that mean alpha
MAX_NAMED = 4  # endings of files that are no images


def is_foreign(path: str) -> bool:
    """Whether a file has to be converted, by its ending."""
    return path.lower().endswith(tuple(CONVERTED))


def usable_path(path: str) -> str:
    """The path of a file that TensorFlow can read: this one, or the PNG that it is converted to.

    Args:
        path: of an image file, with any name.

    Raises:
        UserError: it can't be converted; the message is the reason.
        Failed: the cache can't be written.
    """
    if not is_foreign(path):
        return path
    status = os.stat(path)
    identity = f"{os.path.realpath(path)}\n{status.st_size}\n{status.st_mtime_ns}\n{CONVERSION}"
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()
    target = user_cache.folder("converted") / digest[:2] / f"{digest}.png"
    if not os.path.exists(target):
        _save(_read(path), target)
    return str(target)


def _save(image, target):
    """Puts a PNG into the cache."""
    writer = f"{os.getpid()}-{threading.get_ident()}"  # an image may have several names
    partial = target.with_suffix(f".{writer}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(partial, "PNG", compress_level=1)
        partial.replace(target)
    except OSError as error:  # which says nothing of the image
        with contextlib.suppress(OSError):
            partial.unlink()
        folder = user_cache.folder("converted")
        raise Failed(
            f"the cache {folder} can't be written ({error.strerror or error}), and converted "
            "images are kept there; XDG_CACHE_HOME=FOLDER puts it elsewhere"
        ) from None


def _read(path):
    """The first picture of a file, upright, in a mode that a PNG keeps."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    formats = FORMATS
    if _kind(path) == "HEIC":
        _register_heic()
        formats = ("HEIF", *FORMATS)
    try:
        # Of its contents: Pillow turns no TIFF upright that it maps into memory.
        content = io.BytesIO(pathlib.Path(path).read_bytes())
        image = Image.open(content, formats=formats)
        _check_size(image)
        image.load()
        upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise UserError(
            "its format, number of channels or compression is not known to Pillow"
        ) from None
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise UserError(" ".join(str(error).split())) from None
    _check_channels(image)
    _warn_of_further_pictures(path, image)
    for mode in WRITTEN_MODES.get(upright.mode, ("RGB",)):
        upright = upright.convert(mode)
    return upright


def _check_size(image):
    """Refuses what takes gigabytes to decode, before it is."""
    num_pixels = image.width * image.height
    if num_pixels > MAX_PIXELS:
        raise UserError(
            f"the image has too many pixels: at most {MAX_PIXELS} are accepted, got {num_pixels}"
        )


def _warn_of_further_pictures(path, image):
    try:
        num_pictures = getattr(image, "n_frames", 1)
    except DAMAGED:
        logging.warning("%s: the first of its pictures is used, and another one is damaged", path)
        return
    if num_pictures > 1:
        logging.warning("%s: the first of its %d pictures is used", path, num_pictures)


def _check_channels(image):
    """Refuses what 8 bits of red, green, blue and alpha, or 16 bits of gray, do not hold."""
    bands = image.getbands()
    if image.mode in MANY_VALUED_MODES:
        raise UserError("values of 32 bits; save 8 or 16 bits for each value")
    tags = getattr(image, "tag_v2", None)
    is_alpha = tags is None or tags.get(TIFF_EXTRA_SAMPLES, (0,))[0] in TIFF_ALPHA
    if image.mode in ("RGBX", "LAB", "HSV") or (image.mode == "RGBA" and not is_alpha):
        raise UserError(
            f"{len(bands)} channels, which the file does not call red, green, blue and alpha; "
            "save three of them as an RGB image"
        )
    tags = tags or {}
    value_bits = tags.get(TIFF_BITS_PER_SAMPLE, (8,))
    if len(bands) > 1 and max(value_bits) > 8:  # Pillow would keep the upper 8 bits
        raise UserError(
            f"{max(value_bits)} bits for each of {len(bands)} channels; save it as PNG, or with 8"
        )


def _register_heic():
    try:
        import pillow_heif
    except ImportError:
        raise UserError(
            f"it takes the package {HEIC_PACKAGE}: pip install {HEIC_PACKAGE}"
        ) from None
    pillow_heif.register_heif_opener()


def _kind(path):
    return CONVERTED[os.path.splitext(path)[1].lower()]


def converted_line(paths: list[str]) -> str:
    """How many of the files are converted, in words; empty if none is."""
    counts = collections.Counter(_kind(path) for path in paths if is_foreign(path))
    if not counts:
        return ""
    number = sum(counts.values())
    return f"{number} of {len(paths)} images are converted to PNG once ({_listed(counts)})"


def log_size(paths: list[str]):
    """Says how much room the PNGs of those files take that are converted."""
    sizes = []
    for path in filter(is_foreign, paths):
        with contextlib.suppress(OSError, UserError):  # it may have gone
            sizes.append(os.path.getsize(usable_path(path)))
    if sizes:
        logging.info(
            "the PNG files of %s take %.1f MB in %s",
            counted(len(sizes), "converted image"),
            sum(sizes) / 2**20,
            user_cache.folder("converted"),
        )


def left_out_line(names: list[str]) -> str:
    """How many files are left out since they are no images that can be read; empty if none is.

    Args:
        names: of all files that are not accepted.
    """
    endings = [os.path.splitext(name)[1].lower() for name in names]
    unread = collections.Counter(UNREAD[ending] for ending in endings if ending in UNREAD)
    others = collections.Counter(ending for ending in endings if ending not in UNREAD)
    texts = []
    if unread:
        number = sum(unread.values())
        texts.append(f"{counted(number, 'image')} of kinds that can't be read ({_listed(unread)})")
    if others:
        listed = collections.Counter()
        for ending, count in others.most_common(MAX_NAMED):
            listed[ending or "no ending"] = count
        texts.append(
            f"{counted(sum(others.values()), 'file')} that are no images ({_listed(listed)})"
        )
    return f"left out: {', '.join(texts)}" if texts else ""


def _listed(counts):
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
