"""Six formats in and out: pixels, depth, alpha, grey, CMYK, palette, orientation."""

import hashlib
import io
from dataclasses import replace

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from handmade import chunk, interlaced
from PIL import Image as PillowImage

from verax import image
from verax.errors import ImageReadError, InputError, SizeMismatchError, UnknownNameError
from verax.image import Metadata, Photo, decode, encode


def smooth(height=45, width=64, seed=0):
    """8-bit RGB levels without sharp detail, which every lossy format holds well."""
    coarse = np.random.default_rng(seed).integers(60, 200, (5, 6, 3), dtype=np.uint8)
    return np.asarray(PillowImage.fromarray(coarse).resize((width, height), PillowImage.BICUBIC))


def noise(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def saved(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def tiff(levels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, **options)
    return buffer.getvalue()


LOSSLESS = [(f, c, d) for f in ("png", "tiff") for c in ("rgb", "grey") for d in (8, 16)]
LOSSLESS += [("webp", "rgb", 8)]
INTERLACED = [(1, 1), (2, 5), (5, 2), (8, 8), (13, 22), (33, 64)]


@pytest.mark.parametrize(("format", "color", "depth"), LOSSLESS)
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
def test_lossless_formats_return_every_level(format, color, depth, alpha):
    top, dtype = (255, np.uint8) if depth == 8 else (65535, np.uint16)
    levels = noise((21, 33, 4), dtype)
    if color == "grey":
        levels[..., :3] = levels[..., :1]
    pixels = levels[..., :3].astype(np.float32) / np.float32(top)
    mask = levels[..., 3].astype(np.float32) / np.float32(top) if alpha else None
    like = Photo(pixels, alpha=mask, bit_depth=depth, color=color)

    back = decode(encode(pixels, format=format, like=like))

    assert (back.bit_depth, back.color, back.format) == (depth, color, format)
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_array_equal(back.alpha, mask) if alpha else None
    assert (back.alpha is None) == (not alpha)


@pytest.mark.parametrize("format", ["jpeg", "avif", "heif"])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_lossy_formats_err_by_a_few_grey_levels_on_average(format, depth):
    pixels = image.from_uint8(smooth())

    back = decode(encode(pixels, format=format, like=Photo(pixels, bit_depth=depth)))

    levels = {"jpeg": 1.6, "avif": 1.6, "heif": 3.0}[format]  # HEIC halves colour resolution
    assert float(np.abs(back.pixels - pixels).mean()) * 255 < levels
    most = {"jpeg": 8, "avif": 12, "heif": 12}[format]
    assert back.bit_depth == min(depth, most)


@pytest.mark.parametrize("format", ["avif", "heif"])
def test_lossy_formats_keep_alpha(format):
    pixels = image.from_uint8(smooth())
    alpha = np.linspace(0, 1, pixels.shape[1], dtype=np.float32)[None].repeat(len(pixels), 0)

    back = decode(encode(pixels, format=format, like=Photo(pixels, alpha=alpha)))

    assert float(np.abs(back.alpha - alpha).max()) < 4 / 255


@pytest.mark.parametrize("format", ["png", "tiff", "webp", "avif", "heif"])
def test_colour_under_alpha_zero_is_kept(format):
    pixels = np.full((32, 32, 3), 0.75, np.float32)
    like = Photo(pixels, alpha=np.zeros((32, 32), np.float32))

    back = decode(encode(pixels, format=format, like=like))

    assert float(np.abs(back.pixels - 0.75).max()) < 3 / 255
    assert float(back.alpha.max()) == 0.0


def test_jpeg_drops_alpha_and_keeps_the_colour_under_it():
    pixels = np.full((16, 16, 3), 0.25, np.float32)
    like = Photo(pixels, alpha=np.zeros((16, 16), np.float32))

    back = decode(encode(pixels, format="jpeg", like=like))

    assert back.alpha is None
    assert float(np.abs(back.pixels - 0.25).max()) < 2 / 255


def test_alpha_of_another_size_is_refused():
    like = Photo(np.zeros((8, 8, 3), np.float32), alpha=np.ones((8, 8), np.float32))

    with pytest.raises(SizeMismatchError, match="8x8"):
        encode(np.zeros((9, 8, 3), np.float32), like=like)


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_grey_stays_grey_only_while_the_result_is_grey(format):
    grey = np.repeat(noise((20, 20, 1), np.uint8), 3, axis=2) / np.float32(255)
    tinted = grey.copy()
    tinted[..., 0] *= 0.5
    like = Photo(grey, color="grey")

    assert decode(encode(grey, format=format, like=like)).color == "grey"
    assert decode(encode(tinted, format=format, like=like)).color == "rgb"


def test_rgb_file_with_equal_channels_stays_rgb():
    grey = np.full((16, 16, 3), 0.5, np.float32)

    assert decode(encode(grey, like=Photo(grey))).color == "rgb"


def turned_file(upright, format, orientation):
    """A file whose stored pixels need the turn `orientation`; Pillow's transpose made them."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = PillowImage.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(PillowImage.Transpose(inverse[orientation]))
    exif = PillowImage.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    if format == "HEIF":
        buffer = io.BytesIO()
        pillow_heif.from_pillow(stored).save(buffer, quality=100, exif=exif.tobytes())
        return buffer.getvalue()
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}, "AVIF": {"quality": 100}}
    return saved(stored, format, exif=exif, **options.get(format, {}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_orientation_is_turned_upright_once(format, orientation):
    upright = smooth(24, 40)

    photo = decode(turned_file(upright, format, orientation))
    again = decode(encode(photo.pixels, format=format.lower(), like=photo))

    tolerance = 0 if format in ("PNG", "TIFF", "WEBP") else 6  # a wrong turn differs by 30
    assert np.abs(image.to_uint8(photo.pixels).astype(int) - upright).mean() <= tolerance
    assert np.abs(again.pixels - photo.pixels).mean() * 255 < 6


def test_multi_picture_jpeg_is_its_main_picture():
    pictures = [PillowImage.new("RGB", (24, 16), shade) for shade in ("red", "blue")]
    data = saved(pictures[0], "MPO", save_all=True, append_images=pictures[1:])

    photo = decode(data)

    assert photo.format == "jpeg"
    assert photo.pixels[8, 8] == pytest.approx([1, 0, 0], abs=0.02)


def palette_picture():
    return PillowImage.fromarray(smooth()).quantize(40)


READS = {
    "png-1-bit": lambda: saved(PillowImage.fromarray(smooth()).convert("1"), "PNG"),
    "png-grey": lambda: saved(PillowImage.fromarray(smooth()).convert("L"), "PNG"),
    "png-palette": lambda: saved(palette_picture(), "PNG"),
    "png-palette-2-bit": lambda: saved(PillowImage.fromarray(smooth()).quantize(4), "PNG", bits=2),
    "tiff-1-bit-g4": lambda: saved(
        PillowImage.fromarray(smooth()).convert("1"), "TIFF", compression="group4"
    ),
    "tiff-palette": lambda: saved(palette_picture(), "TIFF"),
    "tiff-lzw": lambda: saved(PillowImage.fromarray(smooth()), "TIFF", compression="tiff_lzw"),
    "tiff-packbits": lambda: saved(PillowImage.fromarray(smooth()), "TIFF", compression="packbits"),
    "tiff-jpeg": lambda: saved(PillowImage.fromarray(smooth()), "TIFF", compression="jpeg"),
    "tiff-grey": lambda: saved(PillowImage.fromarray(smooth()).convert("L"), "TIFF"),
    "jpeg-grey": lambda: saved(PillowImage.fromarray(smooth()).convert("L"), "JPEG"),
    "jpeg-progressive": lambda: saved(PillowImage.fromarray(smooth()), "JPEG", progressive=True),
}


@pytest.mark.parametrize("name", READS)
def test_reads_what_pillow_reads(name):
    data = READS[name]()
    want = np.asarray(PillowImage.open(io.BytesIO(data)).convert("RGB"))

    photo = decode(data)

    tolerance = 6 if name == "tiff-jpeg" else 0  # two JPEG decoders differ in chroma smoothing
    assert np.abs(image.to_uint8(photo.pixels).astype(int) - want).max() <= tolerance


LEVELS = noise((40, 24, 3), np.uint16)
TIFFS = {
    "plain": {},
    "big-endian-deflate": {"compression": "deflate", "predictor": True, "byteorder": ">"},
    "lzw": {"compression": "lzw", "predictor": True},
    "zstd": {"compression": "zstd"},
    "tiles": {"tile": (16, 16), "compression": "deflate"},
    "bigtiff": {"bigtiff": True},
}


@pytest.mark.parametrize("name", TIFFS)
def test_16_bit_tiff_layouts_are_read_exactly(name):
    photo = decode(tiff(LEVELS, photometric="rgb", **TIFFS[name]))

    assert photo.bit_depth == 16
    np.testing.assert_array_equal(image.to_uint16(photo.pixels), LEVELS)


def test_planar_tiff_is_read_exactly():
    data = tiff(np.moveaxis(LEVELS, 2, 0), photometric="rgb", planarconfig="separate")

    np.testing.assert_array_equal(image.to_uint16(decode(data).pixels), LEVELS)


def test_tiff_where_white_is_zero_is_inverted():
    data = tiff(LEVELS[..., 0], photometric="miniswhite")

    np.testing.assert_array_equal(
        65535 - image.to_uint16(decode(data).pixels)[..., 1], LEVELS[..., 0]
    )


def test_premultiplied_tiff_becomes_straight():
    alpha = np.full((20, 20, 1), 128, np.uint8)
    straight = np.full((20, 20, 3), 200, np.uint8)
    stored = np.concatenate([np.rint(straight * (128 / 255)).astype(np.uint8), alpha], axis=2)

    photo = decode(tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))

    assert np.abs(photo.pixels * 255 - 200).max() < 2
    np.testing.assert_array_equal(image.to_uint8(photo.alpha), alpha[..., 0])


def test_tiff_with_a_thumbnail_page_is_one_picture():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(LEVELS, photometric="rgb")
        file.write(LEVELS[::4, ::4], photometric="rgb", subfiletype=1)

    np.testing.assert_array_equal(image.to_uint16(decode(buffer.getvalue()).pixels), LEVELS)


@pytest.mark.parametrize("size", INTERLACED)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_interlaced_png_is_read_exactly_and_in_silence(size, dtype, channels, capfd):
    levels = noise((*size, channels), dtype)

    photo = decode(interlaced(levels))

    top = np.iinfo(dtype).max
    colour = levels[..., :3] if channels > 2 else levels[..., :1].repeat(3, axis=2)
    np.testing.assert_array_equal(np.rint(photo.pixels * top), colour)
    if channels in (2, 4):
        np.testing.assert_array_equal(np.rint(photo.alpha * top), levels[..., -1])
    assert capfd.readouterr() == ("", "")


def test_interlaced_palette_is_looked_up():
    palette = noise((256, 3), np.uint8)
    indices = noise((19, 27, 1), np.uint8)

    photo = decode(interlaced(indices, palette))

    np.testing.assert_array_equal(image.to_uint8(photo.pixels), palette[indices[..., 0]])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp_is_read_and_written(mode):
    picture = PillowImage.fromarray(smooth()).convert(mode)
    photo = decode(saved(picture, "BMP"))

    again = decode(encode(photo.pixels, format="bmp", like=photo))

    np.testing.assert_array_equal(image.to_uint8(photo.pixels), np.asarray(picture.convert("RGB")))
    np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_transparent_colour_becomes_alpha(dtype, channels):
    levels = noise((9, 11, channels), dtype)
    plain = imagecodecs.png_encode(levels.squeeze())
    key = levels[4, 5].astype(">u2").tobytes()

    photo = decode(plain[:33] + chunk(b"tRNS", key) + plain[33:])

    hidden = (levels == levels[4, 5]).all(axis=2)
    np.testing.assert_array_equal(photo.alpha, np.where(hidden, 0, 1))
    assert photo.bit_depth == 8 * dtype().itemsize


def test_palette_transparency_becomes_alpha():
    indexed = palette_picture()
    data = saved(indexed, "PNG", transparency=7)

    photo = decode(data)

    np.testing.assert_array_equal(photo.alpha, np.where(np.asarray(indexed) == 7, 0, 1))


@pytest.mark.parametrize(("mode", "bits"), [("L", 8), ("L;10", 10), ("L;12", 12)])
def test_grey_heic_is_grey(mode, bits):
    top = 2**bits - 1
    ramp = np.linspace(0, top, 64).astype(np.uint8 if bits == 8 else np.uint16)
    levels = np.repeat(ramp[None], 32, axis=0)
    buffer = io.BytesIO()
    pillow_heif.encode(mode, (64, 32), levels.tobytes(), buffer, quality=100, bit_depth=bits)

    photo = decode(buffer.getvalue())

    assert (photo.color, photo.bit_depth) == ("grey", bits)
    assert np.abs(photo.pixels[..., 0] - levels / top).max() < 3 / 255


def test_grey_avif_is_grey():
    levels = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 32, axis=0)

    photo = decode(imagecodecs.avif_encode(levels, 100, pixelformat="400"))

    assert np.abs(photo.pixels[..., 0] - levels / 255).max() < 3 / 255


def test_cmyk_without_profile_is_plain_ink_and_returns():
    pixels = image.from_uint8(smooth())
    like = Photo(pixels, color="cmyk")

    for format, most in (("tiff", 2), ("jpeg", 12)):
        back = decode(encode(pixels, format=format, like=like))
        assert back.color == "cmyk"
        assert np.abs(back.pixels - pixels).max() * 255 < most


def test_cmyk_jpeg_agrees_with_pillow():
    ink = PillowImage.fromarray(smooth()).convert("CMYK")
    data = saved(ink, "JPEG", quality=95)
    levels = np.asarray(PillowImage.open(io.BytesIO(data))).astype(float) / 255
    want = (1 - levels[..., :3]) * (1 - levels[..., 3:])

    np.testing.assert_allclose(decode(data).pixels, want, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 1), (2, 3)])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif", "heif", "bmp"])
def test_tiny_pictures_are_read_and_written(format, size):
    pixels = np.full((*size, 3), 0.5, np.float32)

    back = decode(encode(pixels, format=format))

    assert back.pixels.shape == pixels.shape
    assert np.abs(back.pixels - pixels).max() < 4 / 255


def test_without_like_the_file_is_plain_8_bit_srgb():
    pixels = np.full((16, 16, 3), 0.5, np.float32)

    back = decode(encode(pixels))

    assert (back.bit_depth, back.alpha, back.metadata) == (8, None, Metadata())


def test_cmyk_photo_written_as_png_is_rgb_in_srgb():
    pixels = image.from_uint8(smooth())

    back = decode(encode(pixels, format="png", like=Photo(pixels, color="cmyk")))

    assert back.color == "rgb"
    np.testing.assert_array_equal(back.pixels, pixels)


def test_unknown_format_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="avif, bmp, heif, jpeg, jxl, png, tiff, webp"):
        encode(np.zeros((4, 4, 3), np.float32), format="gif")


def test_quality_outside_its_range_is_refused():
    with pytest.raises(InputError, match="expected a number from 1 to 100, got 0"):
        encode(np.zeros((4, 4, 3), np.float32), format="jpeg", quality=0)


def test_hash_is_of_the_bytes_or_of_shape_and_values():
    flat = np.zeros((4, 6, 3), np.float32)
    data = encode(flat)
    assert decode(data).sha256 == hashlib.sha256(data).hexdigest()
    assert image.from_array(flat).sha256 != image.from_array(flat.reshape(6, 4, 3)).sha256
    # sha256 of b"(1, 1, 3)" and three little-endian 0.5 (00 00 00 3f), from the sha256sum tool
    assert image.array_sha256(np.full((1, 1, 3), 0.5, np.float32)) == HALF_GREY


HALF_GREY = "9a44dad9f1e09860d5665264f63c16947ea03871f265e792860a81a3e111e053"


def test_names_stand_in_photo_and_message():
    assert decode(encode(np.zeros((4, 4, 3), np.float32)), name="a.png").name == "a.png"
    with pytest.raises(ImageReadError, match=r"^b\.png: "):
        decode(b"text", name="b.png")


def test_stripping_leaves_pixels_and_alpha():
    like = Photo(np.zeros((4, 4, 3), np.float32), metadata=Metadata(xmp=b"<x/>", dpi=(72, 72)))

    assert image.without_metadata(like) == replace(like, metadata=Metadata())


@pytest.mark.parametrize("format", ["png", "tiff", "jpeg", "webp", "avif", "heif"])
def test_a_mirrored_view_of_an_array_is_written_like_its_copy(format):
    picture = np.random.default_rng(0).random((32, 24, 3), np.float32)
    view = picture[:, ::-1]

    assert encode(view, format=format) == encode(view.copy(), format=format)
