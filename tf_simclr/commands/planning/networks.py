"""The networks that --config=auto chooses from, by the size of the images."""

import dataclasses

from tf_simclr.commands.planning.facts import Facts

SMALL_SIDE = 40  # pixels: up to this images are thumbnails
LEAST_SIDE = 16  # pixels of the smallest network input
SIDE_UNIT = 8  # pixels: what sides are rounded up to


def is_small(facts: Facts) -> bool:
    """Whether the images are thumbnails."""
    return facts.short_side <= SMALL_SIDE


def small_side(facts: Facts) -> int:
    """Height and width in pixels at which thumbnails are trained on: as they are, not enlarged."""
    return max(_rounded_up(facts.short_side), LEAST_SIDE)


def _rounded_up(side):
    return -(-side // SIDE_UNIT) * SIDE_UNIT


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network that may be trained.

    Attributes:
        image_size: height and width of its input in pixels.
        width_multiplier: factor on its numbers of channels.
        resnet_depth: of the ResNet.
    """

    image_size: int
    width_multiplier: float
    resnet_depth: int = 18

    @property
    def flags(self) -> dict:
        """{flag: value} that make it: its attributes."""
        return dataclasses.asdict(self)

    def __str__(self):
        width = "" if self.width_multiplier == 1 else f" x{self.width_multiplier:g}"
        return f"ResNet-{self.resnet_depth}{width} at {self.image_size} pixels"


SMALL_NETWORKS = ((0.25, 18), (0.5, 18), (1.0, 18), (1.0, 50))  # (width, depth), by their work
LARGE_NETWORKS = (  # (pixels, width, depth), by their work
    (64, 0.25, 18),
    (64, 0.5, 18),
    (96, 0.5, 18),
    (96, 1.0, 18),
    (128, 1.0, 18),
    (160, 1.0, 18),
    (224, 1.0, 18),
    (224, 1.0, 50),
)


def candidates(facts: Facts) -> list[Candidate]:
    """The networks that may be trained, the one with the least work first.

    No image is enlarged but the smallest ones.
    """
    if is_small(facts):
        side = small_side(facts)
        return [Candidate(side, width, depth) for width, depth in SMALL_NETWORKS]
    most = max(_rounded_up(facts.short_side), LARGE_NETWORKS[0][0])
    return [Candidate(*row) for row in LARGE_NETWORKS if row[0] <= most]
