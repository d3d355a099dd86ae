"""JPEG XL, GIF, camera raw, HDR companions: read, written, or a clear line."""

import io
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from handmade_metadata import jpeg, levels, packet, xmp_segment
from PIL import Image as PillowImage

from verax import image
from verax.errors import ImageReadError, MissingExtraError
from verax.image import Metadata, Photo, decode, encode
from verax.image.jxl import Bits, header_of

LEVELS = levels()
DEEP = LEVELS.astype(np.uint16) * 257


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_xl_returns_level_for_level_with_exif_and_xmp(bits, channels):
    source = LEVELS if bits == 8 else DEEP
    pixels = np.asarray(source / np.float32(source.max() if bits == 16 else 255), np.float32)
    pixels = np.repeat(pixels[..., :1], 3, axis=2) if channels == 1 else pixels
    held = Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=packet({"dc:title": "Kept"}))
    like = Photo(
        pixels, np.ascontiguousarray(pixels[..., 0]) if channels == 4 else None, bits,
        "grey" if channels == 1 else "rgb", metadata=held,
    )  # fmt: skip
    once = decode(encode(pixels, format="jxl", like=like))
    twice = decode(encode(once.pixels, format="jxl", like=once))

    assert np.array_equal(once.pixels, twice.pixels)
    assert np.abs(once.pixels - pixels).max() <= 0.5 / (2**bits - 1) + 1e-7
    assert (once.bit_depth, once.color) == (bits, like.color)
    assert (once.alpha is None) == (like.alpha is None)
    assert once.metadata == held


def test_jpeg_xl_of_other_writers_is_read_and_its_header_agrees():
    for options in ({"lossless": True}, {"distance": 1.0}, {"usecontainer": True, "level": 90}):
        data = bytes(imagecodecs.jpegxl_encode(LEVELS, **options))
        photo, header = decode(data), image.header_of(data)
        assert (header.format, header.width, header.height) == ("jxl", photo.width, photo.height)
        assert np.abs(photo.pixels - LEVELS / 255).mean() < 0.03


@pytest.mark.parametrize("size", [(16, 16), (33, 57), (257, 300), (40, 2000), (256, 128)])
def test_jpeg_xl_headers_state_every_size(size):
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((size[1], size[0], 3), np.uint8)))
    header = image.header_of(data)

    assert (header.width, header.height) == size


def test_jpeg_xl_that_is_cut_or_huge_is_refused():
    data = encode(image.from_uint8(LEVELS), format="jxl")
    for cut in (3, 20, len(data) // 2, len(data) - 3):
        with pytest.raises(ImageReadError):
            decode(data[:cut])
    with pytest.raises(ImageReadError, match="megapixels"):
        decode(data, max_pixels=100)


def test_compressed_metadata_that_grows_without_bound_is_refused():
    pixels = image.from_uint8(LEVELS)
    titled = Photo(pixels, metadata=Metadata(xmp=packet({"dc:title": "Kept"})))
    data = encode(pixels, format="jxl", like=titled)
    bomb = b"brobxml " + bytes(imagecodecs.brotli_encode(bytes(1 << 26)))
    box = (len(bomb) + 4).to_bytes(4, "big") + bomb
    at = data.index(b"jxlc") - 4

    with pytest.raises(ImageReadError, match="at most 16 MB"):
        decode(data[:at] + box + data[at:])


def test_what_jpeg_xl_does_not_take_over_is_named():
    icc = bytes(imagecodecs.cms_profile("adobergb"))
    photo = Photo(image.from_uint8(LEVELS), metadata=Metadata(icc=icc))

    assert image.unkept(photo, "jxl") == ("the colour profile",)
    assert decode(encode(photo.pixels, format="jxl", like=photo)).metadata.icc is None


@pytest.mark.parametrize("source", [DEEP, DEEP[..., 0], DEEP[..., [0, 1, 2, 1]]])
def test_deep_jpeg_xl_in_linear_light_gets_its_own_samples_back(source):
    photo = decode(bytes(imagecodecs.jpegxl_encode(source, lossless=True)))
    changed = photo.pixels.copy()
    changed[:5] = 0.5
    data = encode(changed, format="jxl", like=photo)

    assert image.unkept(photo, "jxl") == ()
    assert np.array_equal(imagecodecs.jpegxl_decode(data)[5:], source[5:])
    assert np.abs(decode(data).pixels[:5] - 0.5).max() < 1e-4


def test_bits_are_read_from_the_lowest():
    bits = Bits(bytes([0b1011_0101]))
    assert (bits.take(1), bits.take(3), bits.take(4)) == (1, 0b010, 0b1011)
    with pytest.raises(ValueError, match="short"):
        bits.take(1)
    with pytest.raises(ValueError, match="short"):
        header_of(b"\xff\x0a\x00")


def gif(count=1, **options):
    frames = [PillowImage.fromarray(np.roll(LEVELS, n, 1)).quantize(64) for n in range(count)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=count > 1, append_images=frames[1:], **options)
    return buffer.getvalue(), np.asarray(frames[0].convert("RGB"))


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_frame_of_a_gif_is_read_and_the_others_are_named(count):
    data, first = gif(count)
    photo = decode(data)

    assert np.array_equal(image.to_uint8(photo.pixels), first)
    assert photo.lost == ((f"{count - 1} further frames",) if count > 1 else ())
    assert image.header_of(data).format == "gif"


def test_a_transparent_gif_has_alpha_and_a_cut_one_is_refused():
    data, _ = gif(transparency=3)
    assert decode(data).alpha is not None
    with pytest.raises(ImageReadError):
        decode(data[: len(data) // 2])


def dng():
    """A small sensor picture with the tags that developing needs."""
    mosaic = np.full((64, 96), 8000, np.uint16)
    mosaic[:, 48:] = 30000
    matrix = [(x, 10000) for x in (6722, -635, -963, -4287, 12460, 2028, -908, 2162, 5668)]
    extra = [
        (271, 2, 8, "Example\0", True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes((0, 1, 1, 2)), True),
        (50706, 1, 4, bytes((1, 4, 0, 0)), True),
        (50708, 2, 8, "Example\0", True),
        (50714, 4, 1, 0, True),
        (50717, 4, 1, 65535, True),
        (50721, 10, 9, sum(matrix, ()), True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50778, 3, 1, 21, True),
    ]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, mosaic, photometric=32803, extratags=extra)
    return buffer.getvalue()


def test_camera_raw_is_developed():
    pytest.importorskip("rawpy")
    photo = decode(dng())

    assert (photo.format, photo.bit_depth, photo.width, photo.height) == ("raw", 16, 96, 64)
    assert photo.pixels[:, 60:].mean() > photo.pixels[:, :36].mean() + 0.1
    assert photo.lost[0].startswith("the raw sensor data")


def test_camera_raw_without_its_packages_is_a_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rawpy"):
        decode(dng())


def test_results_of_what_is_only_read_are_png():
    from verax.cli.pairing import writable

    assert [writable(f"a{suffix}") for suffix in (".gif", ".DNG", ".jpg")] == [
        "a.png",
        "a.png",
        "a.jpg",
    ]


def test_ultra_hdr_gives_its_base_picture_and_a_word_on_the_map():
    base = {"hdrgm:Version": "1.0"}
    inside = (
        '<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item '
        'Item:Semantic="GainMap" Item:Mime="image/jpeg"/></rdf:li></rdf:Seq></Container:Directory>'
    )
    second = jpeg([xmp_segment(packet({"hdrgm:GainMapMax": "2.3"}))])
    iso = (0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4))
    data = jpeg([xmp_segment(packet(base, inside)), iso], behind=second)
    photo = decode(data)
    written = encode(photo.pixels, format="jpeg", like=photo)

    assert photo.lost == ("a gain map (HDR)",)
    assert np.array_equal(photo.pixels, decode(jpeg()).pixels)
    assert b"GainMap" not in written
    assert b"hdrgm:" not in written
    assert b"21496" not in written


def test_a_heic_with_a_depth_or_gain_map_says_so():
    heif = pytest.importorskip("pillow_heif")
    from verax.image.codecs import _companions

    data = encode(image.from_uint8(LEVELS), format="heif")
    container = heif.open_heif(io.BytesIO(data))
    container.info["aux"] = {"urn:com:apple:photo:2020:aux:hdrgainmap": [2]}
    container.info["depth_images"] = [object()]

    assert _companions(container, data) == ("a gain map (HDR)", "a depth map")
    assert decode(data).lost == ()
