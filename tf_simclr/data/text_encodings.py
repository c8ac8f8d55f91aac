"""Text of the user's files, whatever program has written them."""

ENCODINGS = ("utf-8-sig", "cp1252")  # the first that fits, else latin-1, which always does
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # what such a file begins with


def decode(content: bytes) -> str:
    """The text of a file, or of a part of it; it has null characters where it is no text."""
    encodings = ("utf-16", *ENCODINGS) if is_utf_16(content) else ENCODINGS
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def is_utf_16(content: bytes) -> bool:
    """Whether a file begins as text of two bytes a letter does."""
    return content.startswith(UTF_16_MARKS)
