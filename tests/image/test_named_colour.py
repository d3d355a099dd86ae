"""Colour spaces named by figures are followed in the order of their standards, or refused."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from handmade import chunk
from PIL import Image as PillowImage

from verax import image
from verax.errors import ImageReadError
from verax.image import decode, encode, to_uint8

LEVELS = np.arange(48 * 16 * 3, dtype=np.uint8).reshape(16, 48, 3)
LINEAR = (b"gAMA", struct.pack(">I", 100_000))
GAMMA = (b"gAMA", struct.pack(">I", 45_470))
SRGB_GAMMA = (b"gAMA", struct.pack(">I", 45_455))
ADOBE = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))
SRGB_CHRM = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
SRGB = (b"sRGB", b"\0")


def cicp(*numbers):
    return (b"cICP", bytes(numbers))


def icc(name):
    import zlib

    return (b"iCCP", b"x\0\0" + zlib.compress(bytes(imagecodecs.cms_profile(name))))


def png(*chunks, levels=LEVELS):
    buffer = io.BytesIO()
    PillowImage.fromarray(levels).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + b"".join(chunk(*one) for one in chunks) + data[33:]


def srgb_of_linear(light):
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("chunks", [[LINEAR], [cicp(1, 8, 0, 1)], [cicp(1, 8, 0, 1), SRGB]])
def test_linear_light_is_followed(chunks):
    pixels = decode(png(*chunks)).pixels

    assert np.abs(pixels - srgb_of_linear(LEVELS / 255)).max() < 0.5 / 255


@pytest.mark.parametrize("levels", [LEVELS[..., 0], LEVELS.astype(np.uint16)[..., 0] * 257])
def test_grey_with_a_gamma_is_followed(levels):
    pixels = decode(png(LINEAR, levels=levels)).pixels
    light = levels / (255 if levels.dtype == np.uint8 else 65535)

    assert np.abs(pixels[..., 1] - srgb_of_linear(light)).max() < 0.5 / 255


@pytest.mark.parametrize("chunks", [[GAMMA, ADOBE], [icc("adobergb")], [icc("adobergb"), SRGB]])
def test_adobe_rgb_is_followed_in_figures_as_in_a_profile(chunks):
    truth = decode(png(icc("adobergb"))).pixels

    assert np.abs(decode(png(*chunks)).pixels - truth).max() < 1.5 / 255
    assert np.abs(truth - LEVELS / 255).max() > 5 / 255


@pytest.mark.parametrize(
    "chunks",
    [[SRGB], [SRGB, LINEAR], [SRGB_GAMMA], [SRGB_GAMMA, SRGB_CHRM], [cicp(1, 13, 0, 1), LINEAR],
     [cicp(1, 13, 0, 1), icc("adobergb")], [cicp(2, 2, 0, 1)]],
)  # fmt: skip
def test_what_means_srgb_changes_nothing(chunks):
    photo = decode(png(*chunks))

    assert np.array_equal(to_uint8(photo.pixels), LEVELS)
    assert photo.stored is None


@pytest.mark.parametrize(
    "chunks",
    [[LINEAR], [GAMMA, ADOBE], [cicp(12, 13, 0, 1)], [cicp(9, 8, 0, 1)], [cicp(12, 4, 0, 1)],
     [SRGB], [cicp(1, 13, 0, 1), icc("adobergb")], [icc("adobergb"), LINEAR]],
)  # fmt: skip
def test_samples_and_chunks_come_back_as_they_were(chunks):
    photo = decode(png(*chunks))
    data = encode(photo.pixels, like=photo)

    assert np.array_equal(np.asarray(PillowImage.open(io.BytesIO(data))), LEVELS)
    for kind, body in chunks:
        assert chunk(kind, body) in data
    assert np.array_equal(decode(data).pixels, photo.pixels)


@pytest.mark.parametrize("format", ["tiff", "webp"])
def test_elsewhere_a_profile_says_what_the_chunks_said(format):
    photo = decode(png(GAMMA, ADOBE))
    back = decode(encode(photo.pixels, format=format, like=photo))

    assert np.abs(back.pixels - photo.pixels).max() < 1e-6


@pytest.mark.parametrize(
    "numbers",
    [(1, 16, 0, 1), (9, 18, 0, 1), (1, 8, 0, 0), (1, 13, 1, 1), (77, 13, 0, 1), (1, 9, 0, 1)],
)
def test_what_is_not_followed_is_refused_in_one_line(numbers):
    with pytest.raises(ImageReadError, match="expected") as refusal:
        decode(png(cicp(*numbers)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("body", [b"", bytes(4), bytes(32), b"\xff" * 4, b"\xff" * 32])
def test_figures_of_no_colour_space_are_ignored(body):
    kind = b"gAMA" if len(body) < 32 else b"cHRM"
    assert decode(png((kind, body))).pixels.shape == (16, 48, 3)


WIDE = [(255, 0, 0), (0, 255, 0), (255, 128, 0), (0, 200, 200)]


def display_p3(levels):
    return decode(png(cicp(12, 13, 0, 1), levels=levels))


@pytest.fixture
def p3():
    return display_p3(np.repeat(np.array([WIDE], np.uint8), 16, axis=0))


def written(pixels, like, **options):
    return np.asarray(PillowImage.open(io.BytesIO(encode(pixels, like=like, **options))))


def test_what_nothing_touches_keeps_its_wide_colours(p3):
    assert written(p3.pixels, p3)[0].tolist() == [list(colour) for colour in WIDE]


def test_what_is_touched_stays_within_its_own_gamut(p3):
    darker = np.asarray(p3.pixels * 0.9, np.float32)
    darker[:8] = p3.pixels[:8]
    levels = written(darker, p3)

    assert levels[0].tolist() == [list(colour) for colour in WIDE]
    red, green = levels[12][:2].astype(int)
    assert red[0] == pytest.approx(230, abs=2)
    assert max(red[1:]) <= 2  # sRGB's border would give 46 and 32
    assert green[1] == pytest.approx(230, abs=2)
    assert max(green[0], green[2]) <= 2


def test_a_small_change_makes_a_small_change(p3):
    nudged = np.clip(p3.pixels + np.float32(0.004), 0, 1)

    assert np.abs(written(nudged, p3).astype(int) - written(p3.pixels, p3)).max() <= 3


def test_another_colour_takes_nothing_of_the_old_one(p3):
    grey = np.full_like(p3.pixels, 0.5)

    assert np.abs(written(grey, p3).astype(int) - 128).max() <= 1


def test_untouched_ink_keeps_its_separation():
    rng = np.random.default_rng(0)
    ink = rng.integers(0, 256, (16, 48, 4), np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(ink, "CMYK").save(buffer, "TIFF")
    photo = decode(buffer.getvalue())
    back = PillowImage.open(io.BytesIO(encode(photo.pixels, format="tiff", like=photo)))

    assert np.array_equal(np.asarray(back), ink)


@pytest.mark.parametrize("profile", [None, "adobergb"])
def test_a_smooth_rise_of_16_bits_stays_smooth(profile):
    rise = np.linspace(0, 65535, 4096).astype(np.uint16)
    levels = np.repeat(rise[None, :, None], 16, axis=0).repeat(3, axis=2)
    pixels = np.asarray(levels / np.float32(65535), np.float32)
    held = image.Metadata(icc=bytes(imagecodecs.cms_profile(profile)) if profile else None)
    photo = image.Photo(pixels, bit_depth=16, metadata=held)
    for gain in (1.0, 0.7, 0.31):
        data = encode(np.asarray(pixels * np.float32(gain)), like=photo)
        steps = np.diff(imagecodecs.png_decode(data)[0].astype(int), axis=0)
        assert steps.min() >= 0
        assert np.array_equal(
            imagecodecs.png_decode(data), imagecodecs.png_decode(data)[:1].repeat(16, 0)
        )
