"""Near-copies: planted ones in random textures, literal computations, what can't be compared."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage
from sklearn.preprocessing import normalize

from tf_simclr.curation import near_copies, neighbors, picture_match
from tf_simclr.curation.near_copies import Pairs
from tf_simclr.errors import UserError

NUM_TEXTURES = 40


def cropped(image):
    return image.resize(image.size, Image.Resampling.BICUBIC, (3, 9, 60, 62))


def compressed(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def brighter(image):
    return ImageEnhance.Brightness(image).enhance(1.3)


CHANGES = {
    "the same": lambda image: image,
    "cropped": cropped,
    "compressed": compressed,
    "brighter": brighter,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "all": lambda image: compressed(brighter(cropped(image))),
    "smaller": lambda image: image.resize((40, 40)),
}


@pytest.fixture(scope="module")
def textures():
    """uint8 [N, 64, 64, 3]: pictures of random blots."""
    noise = np.random.default_rng(0).normal(size=(NUM_TEXTURES, 64, 64, 3))
    blots = ndimage.gaussian_filter(noise, (0, 4, 4, 0))
    return np.uint8(np.clip(128 + 50 * blots / blots.std(), 0, 255))


def thumbnails_of(images):
    """A function, as `near_copies.find` takes it."""
    all_thumbnails = np.stack([picture_match.gray_thumbnail(image) for image in images])
    return all_thumbnails.__getitem__


def planted(textures):
    """(textures and a changed copy of some of them, similar features, the pairs)."""
    copies = [
        np.asarray(change(Image.fromarray(textures[number])))
        for number, change in enumerate(CHANGES.values())
    ]
    images = [*textures, *copies]
    rng = np.random.default_rng(1)
    features = rng.normal(size=(NUM_TEXTURES, 8))
    noise = 0.1 * rng.normal(size=(len(copies), 8))
    features = np.concatenate([features, features[: len(copies)] + noise])
    pairs = {(number, NUM_TEXTURES + number) for number in range(len(copies))}
    return images, features, pairs


def as_set(pairs):
    return set(zip(pairs.first.tolist(), pairs.second.tolist()))


def test_planted_copies(textures):
    """Each is there, no other pair is; with the most similar one first."""
    images, features, expected = planted(textures)
    pairs = near_copies.find(features, thumbnails_of(images))
    assert as_set(pairs) == expected
    assert np.all(np.diff(pairs.similarity) <= 0) and pairs.similarity[0] > 0.999
    order = np.argsort(pairs.first)
    by_change = dict(zip(CHANGES, pairs.similarity[order]))
    assert by_change["the same"] > by_change["all"] > near_copies.THRESHOLD


def test_copies_of_few_among_many(textures):
    images, features, _ = planted(textures)
    chosen = np.array([2, 5, NUM_TEXTURES + 1])
    lookup = thumbnails_of(images)
    pairs = near_copies.copies_of(
        features[chosen], lambda index: lookup(chosen[index]), features, lookup
    )
    itself = {(0, 2), (1, 5), (2, NUM_TEXTURES + 1)}
    copies = {(0, NUM_TEXTURES + 2), (1, NUM_TEXTURES + 5), (2, 1)}
    assert as_set(pairs) == itself | copies
    assert pairs.skipped == 0


def test_each_image_is_compared_with_its_nearest_before_any_other(textures):
    """The ten copies of one image don't take the places of another image's only copy."""
    images = np.stack([textures[0]] * 10 + [textures[1]])
    features = np.array([[1.0, 0.0]] * 10 + [[0.2, 1.0]])
    chosen = np.array([0, 10])
    queries = np.array([[1.0, 0.0], [0.0, 1.0]])  # the second is less like its copy
    lookup = thumbnails_of(images)
    pairs = near_copies.copies_of(
        queries, lambda index: lookup(chosen[index]), features, lookup, max_compared=2
    )
    assert sorted(pairs.first) == [0, 1] and (1, 10) in as_set(pairs)
    assert pairs.skipped == 20 - 2


def slow_similarity(whole, crop):
    """Every crop of `whole` that is large enough against `crop` made smaller."""
    details = lambda image: ndimage.gaussian_filter(image, 0.7) - ndimage.gaussian_filter(image, 2)
    details_of_whole = details(whole.astype(float))
    best = -1
    for side in range(26, 33):
        small = Image.fromarray(crop.astype(np.float32)).resize((side, side), Image.BICUBIC)
        small = details(np.asarray(small, float))
        for y in range(33 - side):
            for x in range(33 - side):
                window = details_of_whole[y : y + side, x : x + side]
                lengths = np.linalg.norm(window) * np.linalg.norm(small)
                best = max(best, np.sum(window * small) / lengths)
    return best


def test_similarity_is_the_largest_correlation_of_all_crops(textures):
    first = np.stack([picture_match.gray_thumbnail(image) for image in textures[:3]])
    changed = [np.asarray(cropped(Image.fromarray(image))) for image in textures[:3]]
    second = np.stack([picture_match.gray_thumbnail(image) for image in changed])
    second[2] = first[0]
    expected = [max(slow_similarity(a, b), slow_similarity(b, a)) for a, b in zip(first, second)]
    similarity = picture_match.aligned_similarity(first, second)
    np.testing.assert_allclose(similarity, expected, atol=1e-4)
    np.testing.assert_array_equal(similarity, picture_match.aligned_similarity(second, first))


def test_pictures_without_contrast_are_similar_to_none(textures):
    blank = np.full((32, 32), 200, np.uint8)
    texture = picture_match.gray_thumbnail(textures[0])
    pairs = np.stack([blank, blank]), np.stack([blank, texture])
    assert np.all(np.abs(picture_match.aligned_similarity(*pairs)) < 0.1)
    assert np.all(np.abs(picture_match.rough_similarity(*pairs)) < 0.1)


def test_groups():
    """Copies of copies are of one group; the image with the most copies comes first."""
    first, second = np.array([0, 2, 7]), np.array([2, 5, 8])
    groups = near_copies.group(9, Pairs(first, second, np.ones(3)))
    assert [members.tolist() for members in groups] == [[2, 0, 5], [7, 8]]
    nothing = np.zeros(0, np.int64)
    assert near_copies.group(9, Pairs(nothing, nothing, nothing)) == []
    assert near_copies.group(0, Pairs(nothing, nothing, nothing)) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_fewer_images_than_neighbors(textures, count):
    features = np.ones((count, 4))
    images = np.repeat(textures[:1], count, 0)
    lookup = thumbnails_of(images) if count else None
    pairs = near_copies.find(features, lookup)
    assert len(pairs) == count * (count - 1) // 2
    pairs = near_copies.copies_of(features, lookup, features, lookup)
    assert len(pairs) == count**2


def test_features_that_are_not_finite():
    features = np.ones((5, 4))
    features[3, 2] = np.nan
    with pytest.raises(UserError, match=r"1 of 5 images are not finite.*number is 3"):
        near_copies.find(features, None)


def test_neighbors_in_cells_are_the_exact_ones(rng, monkeypatch):
    """Of copies always, of images in groups nearly always."""
    centers = 4 * rng.normal(size=(20, 16))
    features = centers[rng.integers(20, size=600)] + rng.normal(size=(600, 16))
    features[400:] = features[:200] + 0.01 * rng.normal(size=(200, 16))
    unit = normalize(features).astype(np.float32)
    cosine, exact = neighbors.nearest_others(unit, 5)
    slow = unit @ unit.T
    np.fill_diagonal(slow, -2)
    np.testing.assert_allclose(cosine, np.sort(slow, 1)[:, :-6:-1], atol=1e-5)
    monkeypatch.setattr(neighbors, "MAX_EXACT", 300)
    _, in_cells = neighbors.nearest_others(unit, 5)
    assert np.mean(in_cells[:, 0] == exact[:, 0]) > 0.995
    assert np.mean(in_cells == exact) > 0.95


def test_fewer_images_in_the_cells_than_neighbors(rng, monkeypatch):
    unit = normalize(rng.normal(size=(60, 4))).astype(np.float32)
    monkeypatch.setattr(neighbors, "MAX_EXACT", 20)
    monkeypatch.setattr(neighbors, "NUM_PROBES", 1)
    similarity, positions = neighbors.nearest_others(unit, 40)
    assert positions.shape == (60, 40)
    is_missing = positions == neighbors.NOWHERE
    assert is_missing.any() and np.all(np.isneginf(similarity) == is_missing)
