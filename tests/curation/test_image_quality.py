"""Dark, bright, blank and blurry images, and those of another size or shape."""

import numpy as np
import pytest
from scipy import ndimage

from tf_simclr.curation import image_quality


@pytest.fixture
def images(rng):
    """Ten usual images uint8 [40, 60, 3]."""
    noise = ndimage.gaussian_filter(rng.normal(size=(10, 40, 60, 3)), (0, 1, 1, 0))
    return list(np.uint8(np.clip(128 + 150 * noise, 0, 255)))


def blurred(image):
    return np.uint8(ndimage.gaussian_filter(image, (4, 4, 0)))


BAD = {
    "dark": lambda image: image // 8,
    "bright": lambda image: 232 + image // 11,
    "blank": lambda image: np.full_like(image, 130),
    "blurry": blurred,
    "odd_size": lambda image: np.tile(image, (5, 5, 1)),
    "odd_shape": lambda image: image[:, :10],
}


def positions_of(images):
    measures = np.stack([image_quality.measure(image) for image in images])
    issues = image_quality.find(measures)
    return {issue: positions.tolist() for issue, (positions, _) in issues.items()}


@pytest.mark.parametrize("issue", image_quality.CHECKS)
def test_each_kind_of_bad_image(images, issue):
    """It is of its kind, and no other image is of any kind."""
    images[4] = BAD[issue](images[4])
    positions = positions_of(images)
    assert positions.pop(issue) == [4]
    assert not any(positions.values())


def test_usual_and_few_images(images):
    assert not any(positions_of(images).values())
    assert not any(positions_of(images[:1]).values())
    assert not any(positions_of([np.full((1, 1, 3), 128, np.uint8)] * 3).pop("blurry"))


def test_black_and_white_images():
    """They are blank, and dark or bright as well."""
    images = [np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)]
    positions = positions_of(images)
    assert positions["blank"] == [0, 1]
    assert positions["dark"] == [0] and positions["bright"] == [1]
