"""Jinja2 templates -> HTML pages that need no other file and make no request."""

import base64

import jinja2
from etils import epath

from tf_simclr.errors import write_error
from tf_simclr.report import wording
from tf_simclr.runs import files as run_files

MIME_TYPES = {b"\x89P": "image/png"}  # by the first bytes of an image; others are JPEG


def render(template: str, **values) -> str:
    """The text of a page.

    Args:
        template: name of a file beside this one.
        **values: what it shows; texts are escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_simclr.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shortened"] = wording.shortened
    return environment.get_template(template).render(**values)


def write(output, text: str, name: str):
    """Writes a page whole or not at all.

    Args:
        output: path of the HTML file.
        text: its content.
        name: what the page is, for messages.

    Raises:
        UserError: it can't be written.
    """
    output = epath.Path(output)
    try:
        if output.is_dir():
            raise IsADirectoryError(None, "it is a directory; give the name of a file")
        run_files.write_text(output, text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{name} can't be written to {output}: {reason}"
        raise write_error(message, error) from None


def data_uri(content: bytes) -> str:
    """An encoded image, JPEG or PNG, as a data: URI."""
    mime_type = MIME_TYPES.get(content[:2], "image/jpeg")
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"
