"""What methods do otherwise with the colors of a view than the flags of the augment section say."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ColorPolicy:
    """What a method does otherwise than SimCLR, whose values are the defaults.

    Attributes:
        saturation: strength of its change, relative to that of brightness and contrast.
        blur_probability: of the Gaussian blur.
        solarize_probability: of inverting the values from the middle on.
    """

    saturation: float = 1.0
    blur_probability: float = 0.5
    solarize_probability: float = 0.0


SIMCLR = ColorPolicy()
