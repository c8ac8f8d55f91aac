"""Which files are images, by their endings. No TensorFlow."""

# What TensorFlow reads.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp")
# {ending: name of the kind} of what Pillow reads; HEIC with the package pillow-heif.
CONVERTED = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".jp2": "JPEG 2000",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pnm": "PPM",
    ".tga": "TGA",
    ".heic": "HEIC",
    ".heif": "HEIC",
}


def is_image(name: str) -> bool:
    """Whether a file can be read by its ending, perhaps after it was converted."""
    return name.lower().endswith((*SUFFIXES, *CONVERTED))


def accepted() -> str:
    """The endings that are accepted, for messages."""
    return ", ".join((*SUFFIXES, *CONVERTED))
