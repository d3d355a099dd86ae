"""--drop-gps: no position anywhere, whatever the schema, the prefix or the form."""

import io
import re
import struct

import numpy as np
import pytest
from handmade_metadata import iim, jpeg, packet, xmp_segment
from PIL import Image as PillowImage

from verax import image
from verax.image import decode, encode, places, tags

LATITUDE, LONGITUDE = "48.1371234", "11.5753456"
# Property names as they are met, by schema; the values are marked so that any left one shows
NAMES = {
    "http://ns.adobe.com/exif/1.0/": "GPSLatitude GPSLongitude GPSAltitude GPSDestLatitude "
    "GPSMapDatum GPSAreaInformation GPSImgDirection GPSTimeStamp",
    "http://ns.adobe.com/photoshop/1.0/": "City State Country",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Location CountryCode CiAdrCity",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "LocationCreated LocationShown LocationId "
    "Sublocation WorldRegion ProvinceState CountryName",
    "http://www.dji.com/drone-dji/1.0/": "GpsLatitude GpsLongtitude Latitude Longitude "
    "AbsoluteAltitude RelativeAltitude RtkStdLon",
    "https://www.skydio.com/drone-skydio/1.0/": "Latitude Longitude HomeLat HomeLon "
    "AbsoluteAltitude",
    "http://rs.tdwg.org/dwc/index.htm": "decimalLatitude decimalLongitude locality stateProvince "
    "country countryCode county municipality verbatimLocality verbatimCoordinates footprintWKT "
    "locationID higherGeography continent waterBody island minimumElevationInMeters",
    "http://www.w3.org/2003/01/geo/wgs84_pos#": "lat long alt lat_long location",
    "http://www.georss.org/georss/": "point box",
    "http://prismstandard.org/namespaces/basic/2.0/": "location",
    "http://purl.org/dc/terms/": "spatial coverage",
    "http://ns.pix4d.com/camera/1.0/": "GPSXYAccuracy GPSZAccuracy",
    "urn:unheard-of": "geoTag geohash PlaceName cityName CaptureLat captureLon mgrs pluscode "
    "HomePosition what3words",
}
PROPERTIES = [(space, name) for space, names in NAMES.items() for name in names.split()]
RETAINED = {
    "dc:title": "Kept title", "xmp:Rating": "4", "photoshop:Credit": "Kept credit",
    "Iptc4xmpCore:AltTextAccessibility": "Kept text", "tiff:Make": "Kept make",
    "exif:DateTimeOriginal": "2026-01-02", "mwg-rs:Name": "Kept face",
}  # fmt: skip


def element(space, name, value, form):
    """A property as an attribute, an element, or a structure around the value."""
    known = f'xmlns:zz="{space}"'
    if form == "attribute":
        return f'<rdf:Description {known} zz:{name}="{value}"/>'
    inside = f"<rdf:Bag><rdf:li>{value}</rdf:li></rdf:Bag>" if form == "list" else value
    if form == "structure":
        inside = f'<rdf:Description {known} zz:part="{value}"/>'
    return f"<zz:{name} {known}>{inside}</zz:{name}>"


@pytest.mark.parametrize("form", ["attribute", "element", "list", "structure"])
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_no_property_of_any_schema_is_left(format, form):
    inside = "".join(
        element(space, name, f"secret{index}x", form)
        for index, (space, name) in enumerate(PROPERTIES)
    )
    photo = decode(jpeg([xmp_segment(packet(RETAINED, inside))]))
    data = encode(photo.pixels, format=format, like=photo, drop_gps=True)

    left = [PROPERTIES[int(n)] for n in re.findall(rb"secret(\d+)x", data)]
    assert len(PROPERTIES) >= 60
    assert left == []
    assert all(value.encode() in data for value in RETAINED.values())


@pytest.mark.parametrize(
    "text",
    [
        f"{LATITUDE}, {LONGITUDE}",
        f"geo:{LATITUDE},{LONGITUDE}",
        "48,8.2274N",
        "48° 8' 13.6\" N",
        "+48.1371+011.5753/",
        f"POINT({LONGITUDE} {LATITUDE})",
        f"https://maps.google.com/?q={LATITUDE},{LONGITUDE}",
        "N 48.137123",
    ],
)
def test_a_position_in_any_text_goes(text):
    block = iim((120, text.encode()), (80, b"Kept author"))
    tags = PillowImage.Exif()
    tags[0x010E], tags[0x010F] = text, "Kept make"
    inside = f"<dc:description>{text.replace('&', '&amp;')}</dc:description>"
    segments = [xmp_segment(packet(RETAINED, inside)), block, (0xFE, text.encode())]
    photo = decode(jpeg(segments, exif=tags))
    data = encode(photo.pixels, format="jpeg", like=photo, drop_gps=True)

    assert text.encode() not in data
    for phrase in (b"Kept author", b"Kept make", b"Kept title"):
        assert phrase in data


@pytest.mark.parametrize(
    "text",
    ["1/250 s, f/2.8, ISO 100", "2026-11-28T05:16:32+01:00", "3.1415926", "v1.2.3.4", "1920,1080"],
)
def test_what_is_no_position_stays(text):
    assert not places.is_a_place(text)


@pytest.mark.parametrize(
    "name",
    [
        "Regions",
        "RegionInfo",
        "Rating",
        "Statement",
        "Area",
        "Creator",
        "AltTextAccessibility",
        "PixelXDimension",
        "Orientation",
        "Longer",
        "Relation",
        "Platform",
        "Composition",
    ],
)
def test_names_that_are_no_places_stay(name):
    assert not places.names_a_place(name)


def test_places_of_iptc_go():
    block = iim((90, b"Munich"), (101, b"Germany"), (27, b"Hall"), (25, b"keyword"))
    photo = decode(jpeg([block]))
    back = decode(encode(photo.pixels, format="jpeg", like=photo, drop_gps=True))

    assert tags.records(back.metadata.iptc) == [(2, 25, b"keyword")]


def test_nothing_lies_between_the_values_of_exif():
    tags = PillowImage.Exif()
    tags[0x010F] = "Kept make"
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 13.64)})
    hidden = tags.tobytes() + b"an old copy: " + LATITUDE.encode() + struct.pack("<I", 1364)
    photo = decode(jpeg(exif=hidden))
    exif = image.without_places(photo).metadata.exif

    assert b"Kept make" in exif
    assert LATITUDE.encode() not in exif
    assert struct.pack("<I", 1364) not in exif


def test_texts_of_a_png_go_with_the_place():
    photo = image.Photo(
        np.full((16, 16, 3), 0.5, np.float32),
        metadata=image.Metadata(texts=((b"tEXt", b"Comment\0" + LATITUDE.encode()),)),
    )
    assert LATITUDE.encode() not in encode(photo.pixels, like=photo, drop_gps=True)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif", "heif"])
def test_the_last_look_finds_what_a_writer_left(format):
    tags = PillowImage.Exif()
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 13.64)})
    photo = image.Photo(
        np.full((16, 16, 3), 0.5, np.float32),
        metadata=image.Metadata(exif=tags.tobytes().removeprefix(b"Exif\0\0")),
    )
    named = image.Photo(photo.pixels, metadata=image.Metadata(xmp=packet({"geo:latitude": "1"})))

    assert places.has_place(encode(photo.pixels, format=format, like=photo))
    assert places.has_place(encode(photo.pixels, format=format, like=named))
    assert not places.has_place(encode(photo.pixels, format=format))


def test_the_last_look_reads_hidden_profiles_of_png():
    block = iim((120, f"Latitude {LATITUDE}".encode()))[1].removeprefix(b"Photoshop 3.0\0")
    photo = decode(jpeg([(0xED, b"Photoshop 3.0\0" + block)]))

    assert places.has_place(encode(photo.pixels, like=photo))
    assert not places.has_place(encode(photo.pixels, like=photo, drop_gps=True))


def test_nothing_of_a_position_is_in_what_goes_to_a_service():
    tags = PillowImage.Exif()
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 13.64)})
    photo = decode(jpeg([xmp_segment(packet({"geo:lat": LATITUDE}))], exif=tags))

    for data in (encode(photo.pixels), encode(photo.pixels, like=image.without_metadata(photo))):
        assert not places.has_place(data, photo)
        with PillowImage.open(io.BytesIO(data)) as picture:
            assert dict(picture.getexif()) == {}
            assert set(picture.info) <= {"srgb", "gamma"}
