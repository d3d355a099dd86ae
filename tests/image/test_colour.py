"""ICC profiles: against closed forms, against a second implementation, there and back."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

from verax import image
from verax.image import Metadata, Photo, decode, encode

# linear RGB to CIE XYZ (D65), IEC 61966-2-1 and Adobe RGB (1998) encoding, 4.3.5.3
SRGB_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
ADOBE_XYZ = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
# SMPTE EG 432-1 primaries with D65
P3_XYZ = [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0.0, 0.04511, 1.04394]]
ADOBE = bytes(imagecodecs.cms_profile("adobergb"))
SRGB = bytes(imagecodecs.cms_profile("srgb"))
GREY_22 = bytes(imagecodecs.cms_profile("gray", gamma=2.2))


def linear(encoded):
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def levels16(shape, seed=0, low=0):
    return np.random.default_rng(seed).integers(low, 65536, shape, np.uint16)


def file_with(profile, levels):
    """A 16-bit PNG of these levels, untouched, that says it is in `profile`."""
    data = imagecodecs.png_encode(levels)
    body = b"p\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(body)) + b"iCCP" + body
    return data[:33] + chunk + struct.pack(">I", zlib.crc32(b"iCCP" + body)) + data[33:]


def test_adobe_rgb_follows_its_closed_form():
    levels = levels16((30, 40, 3))
    light = (levels / 65535) ** (563 / 256) @ np.array(ADOBE_XYZ).T
    want = srgb(light @ np.linalg.inv(SRGB_XYZ).T)

    got = decode(file_with(ADOBE, levels)).pixels

    inside = ((want > 0.02) & (want < 1)).all(axis=2)
    assert np.abs(got - want)[inside].max() * 255 < 0.5  # the profile rounds its matrix
    assert got.min() >= 0
    assert got.max() <= 1


def test_display_p3_named_by_number_follows_its_closed_form():
    levels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    data = imagecodecs.avif_encode(
        levels, 100, pixelformat="444", primaries=12, transfer=13, matrix=0, numthreads=1
    )
    stored = imagecodecs.avif_decode(data) / 255
    want = srgb(linear(stored) @ np.array(P3_XYZ).T @ np.linalg.inv(SRGB_XYZ).T)

    photo = decode(data)

    inside = ((want > 0.02) & (want < 1)).all(axis=2)
    assert np.abs(photo.pixels - want)[inside].max() * 255 < 0.5
    assert photo.metadata.icc is not None


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_16_bit_adobe_rgb_returns_to_its_own_levels(format):
    # colours inside sRGB: what is outside is clipped
    inside = np.random.default_rng(2).random((40, 50, 3), dtype=np.float32)
    like = Photo(inside, bit_depth=16, metadata=Metadata(icc=ADOBE))
    first = encode(inside, format=format, like=like)

    photo = decode(first)
    second = encode(photo.pixels, format=format, like=photo)

    assert photo.metadata.icc == ADOBE
    assert np.abs(photo.pixels - inside).max() * 65535 < 40  # one stored level, in the darks
    one, two = (stored_levels(data) for data in (first, second))
    assert np.abs(one.astype(int) - two).max() <= 1


def stored_levels(data):
    read = imagecodecs.png_decode if data[:1] == b"\x89" else imagecodecs.tiff_decode
    return read(data)


def test_srgb_profile_changes_nothing_and_is_kept():
    levels = levels16((20, 20, 3))

    photo = decode(file_with(SRGB, levels))

    np.testing.assert_array_equal(image.to_uint16(photo.pixels), levels)
    assert photo.metadata.icc == SRGB
    np.testing.assert_array_equal(stored_levels(encode(photo.pixels, like=photo)), levels)


@pytest.mark.parametrize(
    "profile",
    [b"", b"junk" * 60, ADOBE[:300], ADOBE[:16] + b"CMYK" + ADOBE[20:], GREY_22],
    ids=["empty", "junk", "cut", "lying", "grey"],
)
def test_a_profile_that_does_not_fit_is_ignored_and_dropped(profile):
    levels = levels16((8, 8, 3))

    photo = decode(file_with(profile, levels))

    np.testing.assert_array_equal(image.to_uint16(photo.pixels), levels)
    assert photo.metadata.icc is None


def test_grey_profile_there_and_back():
    levels = levels16((20, 20))
    photo = decode(file_with(GREY_22, levels))

    want = srgb((levels / 65535) ** 2.2)
    assert photo.color == "grey"
    assert np.abs(photo.pixels - want[..., None]).max() * 255 < 0.2
    again = stored_levels(encode(photo.pixels, like=photo))
    assert np.abs(again.astype(int) - levels).max() <= 1


def test_where_a_grey_photo_gets_no_colour_its_samples_stay_whatever_its_profile():
    levels = levels16((20, 20))
    photo = decode(file_with(GREY_22, levels))
    tinted = photo.pixels.copy()
    tinted[:10] *= np.array([1, 0.8, 0.6], np.float32)

    data = encode(tinted, like=photo)

    back = decode(data)
    assert back.color == "rgb"
    assert np.abs(back.pixels - tinted).max() < 1e-4
    assert np.array_equal(stored_levels(data)[10:], np.repeat(levels[10:, :, None], 3, axis=2))


def test_a_grey_profile_without_a_curve_goes_when_the_result_has_colour():
    photo = decode(file_with(GREY_22.replace(b"kTRC", b"A2B9"), levels16((20, 20))))
    tinted = photo.pixels * np.array([1, 0.8, 0.6], np.float32)

    back = decode(encode(tinted, like=photo))

    assert back.metadata.icc is None
    assert np.abs(back.pixels - tinted).max() < 1 / 65535


# A printer profile built here, since none may be shipped: ink as in the plain formula
# (1 - ink) * (1 - black), tabulated to CIE Lab and back. ICC.1:2001-04, 6.5.7 (lut16Type).

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = [[1.0478, 0.0229, -0.0501], [0.0295, 0.9905, -0.0171], [-0.0092, 0.0150, 0.7521]]


def lab_of(colour):
    xyz = linear(colour) @ np.array(SRGB_XYZ).T @ np.array(BRADFORD).T / D50
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def colour_of(lab):
    y = (lab[..., 0] + 16) / 116
    root = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(root**3 > 216 / 24389, root**3, (116 * root - 16) * 27 / 24389) * D50
    return srgb(xyz @ np.linalg.inv(BRADFORD).T @ np.linalg.inv(SRGB_XYZ).T)


def grid(channels, points):
    axes = np.meshgrid(*[np.linspace(0, 1, points)] * channels, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, channels)


def lut16(table, inputs, outputs, points):
    ramp = np.array([0, 65535], ">u2").tobytes()
    unit = np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 65536], ">i4").tobytes()
    head = b"mft2" + bytes(4) + bytes([inputs, outputs, points, 0]) + unit
    values = np.rint(np.clip(table, 0, 1) * 65535).astype(">u2").tobytes()
    return head + struct.pack(">HH", 2, 2) + ramp * inputs + values + ramp * outputs


def cmyk_profile():
    ink = grid(4, 9)
    lab = lab_of((1 - ink[:, :3]) * (1 - ink[:, 3:]))
    coded = np.stack([lab[:, 0] / 100 * 65280, *(lab[:, 1:].T * 256 + 32768)], axis=1) / 65535
    back = grid(3, 33) * 65535
    shown = colour_of(np.stack([back[:, 0] / 652.8, *((back[:, 1:] - 32768) / 256).T], axis=1))
    light = shown.max(axis=1, keepdims=True)
    inks = np.concatenate([1 - shown / np.maximum(light, 1e-6), 1 - light], axis=1)
    white = b"XYZ " + bytes(4) + np.rint(D50 * 65536).astype(">i4").tobytes()
    text = b"text" + bytes(4) + b"free\0"
    named = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 4) + b"ink\0" + bytes(78),
        b"cprt": text,
        b"wtpt": white,
        b"A2B0": lut16(coded, 4, 3, 9),
        b"B2A0": lut16(inks, 3, 4, 33),
    }
    start, table, body = 128 + 4 + 12 * len(named), b"", b""
    for signature, value in named.items():
        table += signature + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    illuminant = np.rint(D50 * 65536).astype(">i4").tobytes()
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += bytes(12) + b"acsp" + bytes(28) + illuminant
    return head.ljust(128, b"\0") + struct.pack(">I", len(named)) + table + body


@pytest.fixture(scope="module")
def press():
    return cmyk_profile()


def cmyk_jpeg(press, **options):
    coarse = np.random.default_rng(3).integers(40, 200, (4, 5, 3), dtype=np.uint8)
    picture = PillowImage.fromarray(coarse).resize((48, 32), PillowImage.BICUBIC).convert("CMYK")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", icc_profile=press, quality=95, **options)
    return buffer.getvalue()


def test_cmyk_profile_agrees_with_another_colour_engine(press):
    data = cmyk_jpeg(press)
    want = ImageCms.profileToProfile(
        PillowImage.open(io.BytesIO(data)),
        io.BytesIO(press),
        io.BytesIO(SRGB),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    photo = decode(data)

    assert photo.color == "cmyk"
    assert np.abs(image.to_uint8(photo.pixels).astype(int) - np.asarray(want)).max() <= 2


@pytest.mark.parametrize("format", ["jpeg", "tiff"])
def test_cmyk_goes_back_into_its_profile(press, format):
    photo = decode(cmyk_jpeg(press))

    back = decode(encode(photo.pixels, format=format, like=photo))

    assert back.metadata.icc == press
    assert back.color == "cmyk"
    assert np.abs(back.pixels - photo.pixels).mean() * 255 < 2


def test_cmyk_with_profile_becomes_plain_srgb_in_png(press):
    photo = decode(cmyk_jpeg(press))

    back = decode(encode(photo.pixels, format="png", like=photo))

    assert back.metadata.icc is None
    assert np.abs(back.pixels - photo.pixels).max() * 255 < 0.51
