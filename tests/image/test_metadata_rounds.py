"""Generated EXIF, XMP and IPTC: what was read once is read again, pixels to the last bit."""

import numpy as np
import pytest
from handmade_metadata import SPACES, iim, jpeg, packet, xmp_segment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate, seeds
from PIL import Image as PillowImage

from verax.errors import VeraxError
from verax.image import decode, encode, places
from verax.image.encode import resized_exif

LOSSLESS = ("png", "tiff", "webp", "jxl")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40)
NAME = st.from_regex(r"[A-Z][A-Za-z]{2,12}", fullmatch=True)
PREFIX = st.sampled_from([p for p in SPACES if p not in ("rdf", "xmpNote")])
COUNT = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
MANY = settings(COUNT, max_examples=500)


def escaped(text):
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(sign, name)
    return text


@st.composite
def packets(draw):
    properties = draw(st.dictionaries(st.builds("{}:{}".format, PREFIX, NAME), TEXT, max_size=6))
    inside = ""
    for name, text in draw(st.dictionaries(st.builds("{}:{}".format, PREFIX, NAME), TEXT)).items():
        form = draw(st.sampled_from(["{}", "<rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag>"]))
        inside += f"<{name}>{form.format(escaped(text))}</{name}>"
    return packet({name: escaped(text) for name, text in properties.items()}, inside)


@st.composite
def exifs(draw):
    tags = PillowImage.Exif()
    tags[0x0112] = draw(st.integers(1, 8))
    for tag in draw(st.sets(st.sampled_from([0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298]))):
        tags[tag] = draw(
            st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)
        )
    if draw(st.booleans()):
        tags[0x011A], tags[0x011B] = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
        tags[0x0128] = draw(st.sampled_from([2, 3]))
    inner = tags.get_ifd(0x8769)
    for tag in draw(st.sets(st.sampled_from([0x9003, 0x9286, 0xA002, 0xA003, 0x9214, 0xA434]))):
        values = {0x9214: (9, 8, 7, 6), 0xA002: 48, 0xA003: 32, 0x9286: b"ASCII\0\0\0note"}
        inner[tag] = values.get(tag, "2026:01:02 03:04:05")
    if draw(st.booleans()):
        tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, draw(st.floats(0, 59)))})
    return tags


SETS = st.lists(
    st.tuples(st.sampled_from([5, 25, 80, 90, 105, 116, 120, 131]), st.binary(max_size=50)),
    max_size=5,
)


def check(exif, body, sets):
    photo = decode(jpeg([xmp_segment(body), iim(*sets)], exif=exif))
    for format in LOSSLESS:
        once = decode(encode(photo.pixels, format=format, like=photo))
        twice = decode(encode(once.pixels, format=format, like=once))
        assert np.array_equal(once.pixels, photo.pixels)
        assert np.array_equal(twice.pixels, once.pixels)
        assert twice.metadata == once.metadata
        assert once.metadata.xmp == photo.metadata.xmp
        if format in ("png", "tiff"):
            assert once.metadata.iptc == photo.metadata.iptc
            assert (once.metadata.dpi or (0, 0)) == pytest.approx(
                photo.metadata.dpi or (0, 0), rel=1e-2
            )
        if format != "tiff":
            size = (photo.width, photo.height)
            assert once.metadata.exif == resized_exif(photo.metadata.exif, size)
        assert not places.has_place(encode(photo.pixels, format=format, like=photo, drop_gps=True))


@COUNT
@given(exifs(), packets(), SETS)
def test_generated_packets_come_back(exif, body, sets):
    check(exif, body, sets)


@pytest.mark.slow
@MANY
@given(exifs(), packets(), SETS)
def test_many_generated_packets_come_back(exif, body, sets):
    check(exif, body, sets)


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_what_is_left_of_mutated_files_comes_back_alike(count):
    healthy, rng, read = seeds(), np.random.default_rng(count), 0
    names = list(healthy)
    for number in range(count):
        try:
            photo = decode(mutate(healthy[names[number % len(names)]], rng))
        except VeraxError:
            continue
        read += 1
        same = photo.format in LOSSLESS
        format = photo.format if same else "tiff" if photo.color == "cmyk" else "png"
        once = decode(encode(photo.pixels, format=format, like=photo))
        twice = decode(encode(once.pixels, format=format, like=once))
        exact = same or photo.bit_depth in (8, 16)
        assert np.abs(once.pixels - photo.pixels).max() <= (0 if exact else 1e-3)
        assert twice.metadata == once.metadata
        assert once.metadata.xmp == photo.metadata.xmp
    assert read > count // 20
