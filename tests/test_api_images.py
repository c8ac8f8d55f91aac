"""What `tf_simclr.load(...)` takes as images: one, many, a folder, an iterator, PIL, tensors."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_simclr.api import Model
from tf_simclr.config.automatic import Preprocessing
from tf_simclr.data import foreign_images, python_images
from tf_simclr.data.python_images import BATCH_SIZE
from tf_simclr.errors import Failed

SIZE = 8


@pytest.fixture(scope="module")
def model():
    """A network whose features are the mean colors."""

    def network(images):
        means = tf.reduce_mean(images, [1, 2])
        return {"embedding": means, "probabilities": means, "logits_sup": means}

    return Model(network, Preprocessing(SIZE, "centre", "antialias"), lambda number: tuple("abc"))


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def test_one_image_is_one_row(model, photo, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(file_of(photo))
    expected = model.embed([photo])
    assert expected.shape == (1, 3)
    forms = (
        photo,
        tf.constant(photo),
        Image.fromarray(photo),
        Image.open(path),
        str(path),
        path,
        path.read_bytes(),
        tf.constant(path.read_bytes()),
        np.array(str(path)),
    )
    for image in forms:
        np.testing.assert_array_equal(model.embed(image), expected)
        np.testing.assert_array_equal(model.predict(image), expected)
    floats = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    np.testing.assert_allclose(model.embed(floats), [[0.5] * 3])


def test_gray_images(model, photo):
    gray = photo[..., 0]
    expected = model.embed(np.repeat(gray[..., None], 3, -1))
    np.testing.assert_array_equal(model.embed(gray), expected)
    np.testing.assert_array_equal(model.embed([gray, Image.fromarray(gray)]), [expected[0]] * 2)


def test_a_folder_is_sorted(model, photo, tmp_path):
    images = {"b/1.png": photo, "a.png": photo // 2, "c.png": photo // 3}
    (tmp_path / "b").mkdir()
    for name, image in images.items():
        (tmp_path / name).write_bytes(file_of(image))
    (tmp_path / "notes.txt").write_text("no image")
    expected = model.embed([images[name] for name in sorted(images)])
    np.testing.assert_array_equal(model.embed(tmp_path), expected)
    np.testing.assert_array_equal(model.embed(str(tmp_path)), expected)


def test_many_of_an_iterator(model):
    def images():
        for value in range(BATCH_SIZE + 3):
            yield np.full((4 + value % 2, 5, 3), value, np.uint8)

    means = np.arange(BATCH_SIZE + 3) / 255  # more than go through the network at once
    np.testing.assert_allclose(model.embed(images())[:, 0], means, atol=1e-6)
    np.testing.assert_allclose(model.embed(list(images()))[:, 0], means, atol=1e-6)


def test_the_orientation_of_a_pil_image(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    dark_left = np.zeros((12, 16, 3), np.uint8)
    dark_left[:, 8:] = 255
    turned = Image.open(io.BytesIO(file_of(dark_left, exif=exif)))
    upright = np.rot90(dark_left, -1)
    ((pixels,),) = python_images.batches(turned, 1)
    np.testing.assert_array_equal(pixels, upright)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (3, "a path, a folder, bytes, .* got int"),
        ({"a": 1}, "got dict"),
        (iter(()), "there are no images"),
        ([["a"]], "got <U1 values"),
        (np.zeros((4, 4, 4), np.uint8), r"\[H, W, 3\] are expected, got \(4, 4, 4\)"),
        ([np.zeros((2, 4, 4, 3), np.uint8)], r"got \(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 4, 3), np.uint16), "got uint16"),
        (np.zeros((4, 4, 3), bool), "got bool"),
        (Image.new("I;16", (4, 4)), "mode I;16 has no 8-bit pixels"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)],
            r"of one size \(others are brought to 8x8\), got 4x4, 8x8",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_wrong_images(model, images, message):
    with pytest.raises(ValueError, match=message):
        model.embed(images)


def test_a_folder_without_images(model, tmp_path):
    with pytest.raises(ValueError, match=r"no image in this folder; accepted are \.jpg"):
        model.embed(tmp_path)


def test_a_pipe(model, tmp_path):
    """It would be read for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png: .* \(it is not a regular file\)"):
        model.embed(tmp_path / "pipe.png")


def test_a_full_disk_is_not_of_the_image(model, tmp_path, monkeypatch):
    """Where an image is converted it is written to."""

    def fail(path):
        raise Failed("the disk is full")

    monkeypatch.setattr(foreign_images, "usable_path", fail)
    with pytest.raises(Failed, match=r"^the disk is full"):
        model.embed(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF"])
def test_a_truncated_file(model, photo, tmp_path, kind):
    contents = file_of(photo, kind)
    path = tmp_path / "cut"
    path.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(ValueError, match="cut: not an image that can be read") as raised:
        model.embed(path)
    message = str(raised.value)
    assert not any(word in message for word in ("\n", "assertion", "{{", "tf.Tensor", "b'"))
