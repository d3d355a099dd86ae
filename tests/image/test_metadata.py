"""EXIF, XMP, resolution: kept, turned upright, without thumbnail, without places when asked."""

import io
import struct
from dataclasses import replace

import numpy as np
import pillow_heif
import pytest
from PIL import Image as PillowImage

from verax import image
from verax.image import Metadata, Photo, decode, encode

FORMATS = ["png", "jpeg", "webp", "tiff", "avif", "heif"]
GREY = np.full((20, 30, 3), 0.5, np.float32)
NOTE = b"private note with offsets"
THUMBNAIL = b"\xff\xd8thumbnail\xff\xd9"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'tiff:Orientation="6" exif:GPSLatitude="48,8.5N" photoshop:City="Munich" dc:format="x">'
    b"<exif:GPSLongitude>11,34.5E</exif:GPSLongitude><dc:title>Kept</dc:title>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def exif_block(order, orientation=6):
    """An EXIF block put together by hand: maker, GPS, maker note, thumbnail, sizes."""
    main, inner, place, second = 8, 100, 200, 300
    note, latitude, picture = 400, 440, 500

    def entries(items, following=0):
        body = b"".join(
            struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")
            for tag, kind, count, value in items
        )
        head = struct.pack(f"{order}H", len(items))
        return head + body + struct.pack(f"{order}I", following)

    def short(value):
        return struct.pack(f"{order}H", value)

    def long(value):
        return struct.pack(f"{order}I", value)

    block = bytearray(picture + len(THUMBNAIL))

    def put(offset, body):
        block[offset : offset + len(body)] = body

    put(0, (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, main))
    first = [(0x010F, 2, 4, b"Abc\0"), (0x0112, 3, 1, short(orientation))]
    first += [(0x8769, 4, 1, long(inner)), (0x8825, 4, 1, long(place))]
    put(main, entries(first, following=second))
    sides = [(0xA002, 4, 1, long(30)), (0xA003, 4, 1, long(20))]
    put(inner, entries([(0x927C, 7, len(NOTE), long(note)), *sides]))
    put(place, entries([(1, 2, 2, b"N\0"), (2, 5, 3, long(latitude))]))
    thumbnail = [(0x0201, 4, 1, long(picture)), (0x0202, 4, 1, long(len(THUMBNAIL)))]
    put(second, entries(thumbnail))
    put(note, NOTE)
    put(latitude, struct.pack(f"{order}6I", 48, 1, 8, 1, 3077, 100))
    put(picture, THUMBNAIL)
    return bytes(block)


def file_as_a_camera_writes_it(order):
    levels = PillowImage.new("RGB", (30, 20), (90, 120, 150))
    buffer = io.BytesIO()
    levels.save(buffer, "JPEG", exif=b"Exif\0\0" + exif_block(order), xmp=XMP, dpi=(300, 300))
    return buffer.getvalue()


@pytest.fixture(params=["<", ">"], ids=["little", "big"])
def photo(request):
    return decode(file_as_a_camera_writes_it(request.param))


def opened(data):
    """The second implementation: Pillow and libheif read what we wrote."""
    if data[4:11] == b"ftyphei":
        return pillow_heif.open_heif(io.BytesIO(data)).to_pillow()
    return PillowImage.open(io.BytesIO(data))


def test_orientation_is_reset_and_the_sides_are_exchanged(photo):
    exif = PillowImage.Exif()
    exif.load(photo.metadata.exif)

    assert (photo.width, photo.height) == (20, 30)
    assert exif[0x0112] == 1
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (20, 30)
    assert b'tiff:Orientation="1"' in photo.metadata.xmp


def test_the_thumbnail_is_gone_and_the_maker_note_has_not_moved(photo):
    assert b"thumbnail" not in photo.metadata.exif
    assert len(photo.metadata.exif) == 500
    assert photo.metadata.exif.index(NOTE) == 400


@pytest.mark.parametrize("format", FORMATS)
def test_exif_xmp_and_resolution_reach_the_file(photo, format):
    data = encode(photo.pixels, format=format, like=photo)

    exif = opened(data).getexif()
    assert exif[0x010F].rstrip("\0") == "Abc"
    assert exif.get(0x0112, 1) == 1
    assert exif.get_ifd(0x8769)[0x927C] == NOTE
    assert exif.get_ifd(0x8825)[2] == pytest.approx((48, 8, 30.77))
    back = decode(data)
    assert b"Kept" in back.metadata.xmp
    if format in ("png", "jpeg", "tiff"):
        assert back.metadata.dpi == pytest.approx((300, 300), abs=0.01)
        assert opened(data).info["dpi"] == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_survives_a_second_round(photo, format):
    once = decode(encode(photo.pixels, format=format, like=photo))
    twice = decode(encode(once.pixels, format=format, like=once))

    assert twice.metadata == once.metadata
    assert twice.pixels.shape == once.pixels.shape


@pytest.mark.parametrize("format", FORMATS)
def test_dropping_gps_leaves_no_place_and_keeps_the_rest(photo, format):
    data = encode(photo.pixels, format=format, like=photo, drop_gps=True)

    exif = opened(data).getexif()
    assert exif[0x010F].rstrip("\0") == "Abc"
    assert dict(exif.get_ifd(0x8825)) == {}
    assert 0x927C not in exif.get_ifd(0x8769)
    back = decode(data)
    assert b"Kept" in back.metadata.xmp
    for trace in (b"GPS", b"48,8.5N", b"11,34.5E", b"Munich", NOTE, struct.pack("<I", 3077)):
        assert trace not in data.replace(struct.pack(">I", 3077), struct.pack("<I", 3077))


def test_a_place_named_twice_goes_twice():
    block = bytearray(exif_block("<"))
    block[10:12] = (0x8825).to_bytes(2, "little")  # the maker's entry now is a second pointer
    block[12:22] = struct.pack("<HII", 4, 1, 200)
    like = Photo(GREY, metadata=Metadata(exif=bytes(block)))

    stripped = image.without_places(like).metadata.exif
    exif = PillowImage.Exif()
    exif.load(stripped)
    assert 0x8825 not in exif
    assert struct.pack("<I", 3077) not in stripped


def test_an_xmp_packet_keeps_its_wrapper_when_places_go():
    packet = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0"?>' + XMP + b'<?xpacket end="w"?>'
    like = Photo(GREY, metadata=Metadata(xmp=packet))

    cleaned = image.without_places(like).metadata.xmp
    assert cleaned.startswith(b"<?xpacket begin=")
    assert cleaned.endswith(b'<?xpacket end="w"?>')
    assert b"Kept" in cleaned


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_left_for_sending_out(photo, format):
    bare = image.without_metadata(photo)
    back = decode(encode(bare.pixels, format=format, like=bare))

    assert back.metadata == Metadata()


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"XX*\0" + bytes(40), b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_is_dropped(exif):
    like = Photo(GREY, metadata=Metadata(exif=exif))

    assert decode(encode(GREY, like=like)).metadata.exif is None


@pytest.mark.parametrize(
    "xmp",
    [
        b"<x exif:GPSLatitude='1'",
        b"<!DOCTYPE x [<!ENTITY a 'GPS'>]><x>&a;</x>",
        b"<x>GPSLatitude in a text</x>",
        b"<x/>" + bytes(1 << 20),
    ],
    ids=["malformed", "entities", "hidden", "huge"],
)
def test_xmp_that_cannot_be_searched_for_places_is_dropped(xmp):
    like = Photo(GREY, metadata=Metadata(xmp=xmp))

    assert image.without_places(like).metadata.xmp is None


def test_jpeg_leaves_out_what_does_not_fit_a_segment():
    like = Photo(GREY, metadata=Metadata(xmp=b"<x>" + b" " * 70_000 + b"</x>"))

    assert decode(encode(GREY, format="jpeg", like=like)).metadata.xmp is None
    assert decode(encode(GREY, format="png", like=like)).metadata.xmp == like.metadata.xmp


def test_resolution_of_exif_counts_where_the_container_states_none():
    levels = PillowImage.new("RGB", (16, 16))
    exif = PillowImage.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 100.0, 50.0, 3  # per centimetre
    buffer = io.BytesIO()
    levels.save(buffer, "JPEG", exif=exif)

    assert decode(buffer.getvalue()).metadata.dpi == pytest.approx((254, 127))


@pytest.mark.parametrize("dpi", [(0.0, 0.0), (float("nan"), 72.0), (1e30, 1e30)])
@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_absurd_resolution_does_not_stop_writing(format, dpi):
    like = Photo(GREY, metadata=Metadata(dpi=dpi))

    assert decode(encode(GREY, format=format, like=like)).pixels.shape == GREY.shape


def test_a_quarter_turn_exchanges_the_resolutions():
    levels = PillowImage.new("RGB", (30, 20))
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    levels.save(buffer, "PNG", exif=exif, dpi=(100, 200))

    assert decode(buffer.getvalue()).metadata.dpi == pytest.approx((200, 100), abs=0.02)


def test_profile_metadata_and_alpha_stay_together(photo):
    alpha = np.linspace(0, 1, 600, dtype=np.float32).reshape(30, 20)
    full = replace(photo, alpha=alpha, bit_depth=16)

    back = decode(encode(full.pixels, format="tiff", like=full))

    assert np.abs(back.alpha - alpha).max() < 1 / 65535
    assert back.metadata.xmp == photo.metadata.xmp
