"""One table of formats: what is read is told by its head and by its suffix alike."""

import io

import numpy as np
import pytest
from mutations import seeds
from PIL import Image as PillowImage

from verax import errors, image
from verax.errors import ImageReadError, UnknownNameError


@pytest.fixture(scope="module")
def healthy():
    return seeds()


def test_the_head_states_what_decoding_finds(healthy):
    for name, data in healthy.items():
        photo, header = image.decode(data), image.header_of(data)
        facts = (header.format, header.width, header.height)
        assert facts == (photo.format, photo.width, photo.height), name


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_upright_picture(tmp_path, format, orientation):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x"
    PillowImage.new("RGB", (30, 20)).save(path, format, exif=exif)

    header, photo = image.header_of(path), image.read(path)
    assert (header.width, header.height) == (photo.width, photo.height)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"\xff\xd8\xff",
        b"text",
    ],
)
def test_what_is_no_picture_has_no_header(data):
    with pytest.raises(ImageReadError, match="expected"):
        image.header_of(data)


def test_every_suffix_names_a_format_that_is_written(tmp_path):
    for suffix, format in image.SUFFIXES.items():
        path = tmp_path / f"x{suffix}"
        image.write(path, np.full((16, 16, 3), 0.5, np.float32))
        assert image.format_of_file(path) == format
        assert image.is_picture_name(path)
    assert not image.is_picture_name("._x.png")


def test_an_unknown_name_is_separated_from_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"unknown metric 'zzz'; known: psnr, ssim"):
        errors.choose({"psnr": 1, "ssim": 2}, "zzz", kind="metric")


def test_a_jpeg_of_several_pictures_is_a_jpeg(tmp_path):
    buffer = io.BytesIO()
    first, second = (PillowImage.new("RGB", (32, 16), colour) for colour in ("red", "blue"))
    first.save(buffer, "MPO", save_all=True, append_images=[second])

    header = image.header_of(buffer.getvalue())
    assert (header.format, header.width, header.height) == ("jpeg", 32, 16)
