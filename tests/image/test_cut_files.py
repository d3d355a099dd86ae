"""Cut files are refused in every format, with or without an end marker; what is left can be had."""

import io

import numpy as np
import pytest
from handmade_metadata import jpeg, levels
from mutations import seeds
from PIL import Image as PillowImage

from verax import image
from verax.errors import ImageReadError
from verax.image import decode
from verax.image.segments import SOS, layout_of

PICTURE = levels(192, 144)
KINDS = {
    "baseline": {},
    "full colour": {"subsampling": 0},
    "grey": {"picture": PICTURE[..., 1]},
    "restarts": {"restart_marker_blocks": 5},
    "progressive": {"progressive": True},
    "progressive, restarts": {"progressive": True, "restart_marker_rows": 1},
}


def file_of(kind):
    return jpeg(**{"picture": PICTURE} | KINDS[kind])


def start_of_pixels(data):
    return data.index(b"\xff\xda")


@pytest.mark.parametrize("ended", [True, False], ids=["end marker", "no end"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_cut_anywhere_is_refused(kind, ended):
    data = file_of(kind)
    first = start_of_pixels(data) + 20
    for cut in np.linspace(first, len(data) - 40, 12).astype(int):
        broken = data[:cut].rstrip(b"\xff") + (b"\xff\xd9" if ended else b"")
        with pytest.raises(ImageReadError, match="cut short"):
            decode(broken)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_read(kind):
    assert decode(file_of(kind)).pixels.shape == (144, 192, 3)


@pytest.mark.parametrize("flat", [0, 128, 255])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_whole_files_with_a_flat_end_are_read(flat, options):
    picture = PICTURE.copy()
    picture[72:] = flat
    assert decode(jpeg(picture=picture, **options)).pixels.shape == (144, 192, 3)


def test_a_progressive_file_without_its_last_scans_is_refused():
    data = file_of("progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(layout_of(data).of(SOS)) == len(scans) > 3
    with pytest.raises(ImageReadError, match="data are cut short"):
        decode(data[: scans[-1]] + b"\xff\xd9")


def test_every_format_refuses_a_cut_file():
    for name, data in seeds().items():
        for share in (0.3, 0.6, 0.9):
            try:
                decode(data[: int(len(data) * share)])
            except ImageReadError:
                continue
            pytest.fail(f"{name} cut at {share:.0%} was read")


@pytest.mark.parametrize(
    "name", ["png-8", "png-16-alpha", "tiff-16", "webp", "avif", "heif", "jxl"]
)
def test_what_stands_behind_the_pixels_must_be_there_too(name):
    data = seeds()[name]
    for missing in range(1, 12, 2):
        with pytest.raises(ImageReadError):
            decode(data[:-missing])


@pytest.mark.parametrize("kind", ["baseline", "full colour", "grey", "restarts"])
@pytest.mark.parametrize("ended", [True, False])
def test_what_is_left_of_a_cut_jpeg_is_salvaged_with_the_lost_rows_marked(kind, ended):
    data = file_of(kind)
    whole = decode(data)
    begin = start_of_pixels(data)
    broken = data[: begin + (len(data) - begin) // 2] + (b"\xff\xd9" if ended else b"")
    photo, lost = image.salvage(broken)
    rows = lost.max(axis=1)
    first = int(rows.argmax())

    assert lost.shape == (144, 192)
    assert (rows[first:] == 1).all()
    assert 40 < first < 110
    assert np.array_equal(photo.pixels[: first - 8], whole.pixels[: first - 8])
    assert photo.lost[-1] == f"rows {first} to 143, which the file does not hold"


def test_a_cut_png_is_salvaged_and_a_whole_file_loses_nothing():
    buffer = io.BytesIO()
    PillowImage.fromarray(PICTURE).save(buffer, "PNG")
    data = buffer.getvalue()
    photo, lost = image.salvage(data[: len(data) // 2])
    whole, nothing = image.salvage(data)
    first = int(lost.max(axis=1).argmax())

    assert 30 < first < 120
    assert np.array_equal(photo.pixels[:first], whole.pixels[:first])
    assert not nothing.any()
    assert whole.lost == ()


@pytest.mark.parametrize("format", ["webp", "tiff", "avif"])
def test_formats_of_which_nothing_can_be_salvaged_say_so(format):
    data = image.encode(image.from_uint8(PICTURE), format=format)
    with pytest.raises(ImageReadError):
        image.salvage(data[: len(data) // 2])
