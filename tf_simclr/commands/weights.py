"""--mode=weights: the published models, their accuracy, and which are in the cache."""

from absl import logging

from tf_simclr import console
from tf_simclr.checkpoints import published_weights
from tf_simclr.config import Config, published
from tf_simclr.config.stages import CHECKPOINT_FLAGS

HEAD = ("name", "depth", "width", "SK", "parameters", "top 1", "in the cache")


def list_models(configs: list[Config]):
    """Prints the table; a published model that is named by --checkpoint is downloaded first.

    Args:
        configs: of the stages.

    Raises:
        UserError: as `published_weights.local_path`.
    """
    for settings in configs:
        for flag in CHECKPOINT_FLAGS:
            path = settings.flat()[flag]
            if published.is_name(path):
                folder = published_weights.local_path(path, flag, settings.train.offline)
                logging.info("%s is in the cache: %s", path, folder)
    console.print_text(table())


def table() -> str:
    """The published models, a line each."""
    lines = [HEAD, *map(_line, published.names())]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _line(name):
    architecture, _ = published.split(name)
    depth, width, has_selective_kernels, parameters, _ = published.ARCHITECTURES[architecture]
    megabytes = published_weights.cached_megabytes(name)
    return (
        name,
        str(depth),
        f"{width}x",
        "yes" if has_selective_kernels else "no",
        f"{parameters} M",
        f"{published.top1(name)}%",
        "" if megabytes is None else f"{megabytes} MB",
    )


def _aligned(line, widths):
    name, *numbers = line
    name_width, *number_widths = widths
    cells = [name.ljust(name_width)]
    cells += [text.rjust(width) for text, width in zip(numbers, number_widths)]
    return "  ".join(cells).rstrip()
