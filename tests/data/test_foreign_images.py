"""Files that TensorFlow can't read: converted once by Pillow, or counted by kind."""

import errno
import io
import pathlib
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, TiffImagePlugin

from tf_simclr import config
from tf_simclr.data import (
    copies,
    cores,
    datasets,
    division,
    foreign_images,
    image_folder,
    scan_cache,
)
from tf_simclr.errors import Failed, UserError


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def photos(tmp_path):
    """Two classes: one of WebP files, one of TIFF and PNG; and files that are none."""
    for folder in ("ant", "bee"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        picture(number).save(tmp_path / "ant" / f"{number}.webp", lossless=True)
        picture(10 + number).save(tmp_path / "bee" / f"{number}.tif")
    picture(20).save(tmp_path / "bee" / "3.PNG")
    (tmp_path / "bee" / "4.NEF").write_bytes(b"raw")
    (tmp_path / "ant" / "notes.txt").write_text("of the afternoon")
    (tmp_path / "ant" / "notes.xml").write_text("<a/>")
    return tmp_path


def test_no_image_is_left_out_silently(photos, log):
    data = config.build({"dataset": f"folder:{photos}"}).data
    pixels = {}
    for split in datasets.splits(data):
        source = datasets.load(data, split)
        assert source.class_names == ("ant", "bee")
        for name, record in zip(source.example_names, source.records):
            pixels[name] = source.decode(tf.constant(record)).numpy()
    assert len(pixels) == 7
    for number in range(3):
        np.testing.assert_array_equal(pixels[f"ant/{number}.webp"], picture(number))
        np.testing.assert_array_equal(pixels[f"bee/{number}.tif"], picture(10 + number))
    assert "3 of 7 images are converted to PNG once (TIFF 3)" in log.text
    assert "the PNG files of 3 converted images take 0.0 MB in" in log.text
    assert "1 image of kinds that can't be read (camera raw 1)" in log.text
    assert "2 files that are no images (.txt 1, .xml 1)" in log.text


def test_converted_once(tmp_path, monkeypatch):
    path = str(tmp_path / "a.tiff")
    picture(1).save(path)
    usable = foreign_images.usable_path(path)
    monkeypatch.setattr(foreign_images, "_read", None)  # nothing is read again
    assert foreign_images.usable_path(path) == usable
    np.testing.assert_array_equal(Image.open(usable), picture(1))


def test_a_cache_that_can_not_be_written(photos, monkeypatch):
    """It ends the run: images are not left out for that."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(Failed, match=r"the cache /proc/nowhere/.* XDG_CACHE_HOME=FOLDER"):
        datasets.load(config.build({"dataset": f"folder:{photos}"}).data, "train")


def test_two_names_of_one_file(tmp_path, monkeypatch):
    """Which two threads convert at a time."""
    picture().save(tmp_path / "a.tif")
    (tmp_path / "b.tif").symlink_to("a.tif")
    both_saved = threading.Barrier(2, timeout=60)
    replace = pathlib.Path.replace
    monkeypatch.setattr(cores, "num_cores", lambda: 2)

    def replace_together(path, target):
        both_saved.wait()
        return replace(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", replace_together)
    paths = [str(tmp_path / name) for name in ("a.tif", "b.tif")]
    assert image_folder.problems_of(paths, "checking") == [None, None]


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    picture().save(tmp_path / "a.tif")

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", no_room)
    with pytest.raises(Failed, match=r"can't be written \(No space left on device\)"):
        image_folder.problems_of([str(tmp_path / "a.tif")], "checking")
    assert not list((tmp_path / "cache").rglob("*.partial"))


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bits_of_gray(tmp_path, dtype):
    """Of either order of the bytes: ImageJ writes the one that processors do not have."""
    values = np.arange(192, dtype=np.uint16).reshape(12, 16) * 300
    Image.fromarray(values.astype(dtype)).save(tmp_path / "gray.tif")
    converted = Image.open(foreign_images.usable_path(str(tmp_path / "gray.tif")))
    np.testing.assert_array_equal(np.array(converted), values)


def test_what_a_png_keeps(tmp_path):
    """Orientation is not lost on the way."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "turned.avif", quality=100, subsampling="4:4:4", exif=exif)
    converted = Image.open(foreign_images.usable_path(str(tmp_path / "turned.avif")))
    expected = np.array(picture().transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(np.array(converted).astype(int) - expected).max() < 40


def four_bands():
    """A TIFF of red, green, blue and infrared."""
    stream = io.BytesIO()
    Image.merge("CMYK", [*picture().split(), picture(1).split()[0]]).save(stream, "TIFF")
    content = bytearray(stream.getvalue())
    position = content.index((262).to_bytes(2, "little"))  # the tag of what the channels are
    content[position + 8 : position + 10] = (2).to_bytes(2, "little")  # RGB
    return bytes(content)


def damaged_avif():
    """An AVIF whose pixels are zeros."""
    stream = io.BytesIO()
    picture().save(stream, "AVIF")
    content = stream.getvalue()
    start = content.index(b"mdat") + 4
    return content[:start] + bytes(len(content) - start)


def eps():
    """A program for Ghostscript, which must not run it."""
    stream = io.BytesIO()
    picture().save(stream, "EPS")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged_avif, "item|[Dd]ecod"),
        (eps, "is not known to Pillow"),
        (four_bands, "4 channels, which the file does not call"),
        (lambda: b"II*\0 nothing", "Pillow does not know|cannot|not"),
    ],
)
def test_what_can_not_be_converted(tmp_path, make, message):
    path = tmp_path / "odd.tif"
    path.write_bytes(make())
    with pytest.raises(UserError, match=message):
        foreign_images.usable_path(str(path))


def test_too_many_pixels(tmp_path, monkeypatch):
    """They are counted before they are decoded."""
    picture().save(tmp_path / "large.tif")
    monkeypatch.setattr(foreign_images, "MAX_PIXELS", 100)
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", None)
    with pytest.raises(UserError, match="too many pixels: at most 100 are accepted, got 192"):
        foreign_images.usable_path(str(tmp_path / "large.tif"))


def test_32_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match="values of 32 bits"):
        foreign_images.usable_path(str(tmp_path / "float.tif"))


def test_heic_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"anything")
    with pytest.raises(UserError, match="pip install pillow-heif"):
        foreign_images.usable_path(str(tmp_path / "a.heic"))


@pytest.mark.parametrize("limit", [2**30, 0])
def test_an_image_is_known_by_its_file(tmp_path, monkeypatch, limit):
    """Not by the PNG that it became, in memory or not: what is held out follows from it."""
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", limit)
    for number in range(30):
        picture(number).save(tmp_path / f"{number}.{'tif' if number % 3 else 'png'}")
    data = config.build({"dataset": f"folder:{tmp_path}"}).data
    sides = {"train": False, "validation": True}
    for split, is_held_out in sides.items():
        source = datasets.load(data, split)
        digests = copies.digests(source)
        for name, digest in zip(source.example_names, digests, strict=True):
            assert digest == scan_cache.content_digest((tmp_path / name).read_bytes())
            assert division.is_held_out(digest, source.facts.moved) == is_held_out


def test_a_second_picture_that_is_damaged(tmp_path, log):
    stream = io.BytesIO()
    picture(1).save(stream, "TIFF", save_all=True, append_images=[picture(2).convert("L")])
    path = tmp_path / "two.tif"
    path.write_bytes(stream.getvalue())
    assert Image.open(foreign_images.usable_path(str(path))).size == (16, 12)
    assert "the first of its 2 pictures is used" in log.text
    content = bytearray(stream.getvalue())
    position = content.rindex((273).to_bytes(2, "little"))  # the tag of where the pixels are
    content[position : position + 2] = (65000).to_bytes(2, "little")
    path.write_bytes(content)
    np.testing.assert_array_equal(Image.open(foreign_images.usable_path(str(path))), picture(1))
    assert "the first of its pictures is used, and another one is damaged" in log.text
