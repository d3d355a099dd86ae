"""What a picture is inside Verax, and the functions that read, check, encode and write pictures.

A picture is an array of shape (H, W, 3), float32, sRGB-encoded, in [0, 1]. Row 0 is the top.
"""

from verax.image.contract import (
    MIN_SIDE,
    Image,
    Metadata,
    Photo,
    Plane,
    array_sha256,
    check_image,
    check_plane,
    check_size,
    from_array,
    from_uint8,
    is_grey,
    keep_grey,
    to_uint8,
    to_uint16,
    without_metadata,
)
from verax.image.decode import MAX_PIXELS, decode
from verax.image.encode import QUALITY, encode, unkept
from verax.image.files import (
    as_photo,
    check_target,
    format_of,
    read,
    read_bytes,
    replace_file,
    salvage,
    write,
)
from verax.image.header import (
    MEDIA_TYPES,
    SUFFIXES,
    Header,
    format_of_bytes,
    format_of_file,
    header_of,
    is_picture_name,
    usual_suffix,
)
from verax.image.places import without_places

__all__ = [
    "MAX_PIXELS",
    "MEDIA_TYPES",
    "MIN_SIDE",
    "QUALITY",
    "SUFFIXES",
    "Header",
    "Image",
    "Metadata",
    "Photo",
    "Plane",
    "array_sha256",
    "as_photo",
    "check_image",
    "check_plane",
    "check_size",
    "check_target",
    "decode",
    "encode",
    "format_of",
    "format_of_bytes",
    "format_of_file",
    "from_array",
    "from_uint8",
    "header_of",
    "is_grey",
    "is_picture_name",
    "keep_grey",
    "read",
    "read_bytes",
    "replace_file",
    "salvage",
    "to_uint8",
    "to_uint16",
    "unkept",
    "usual_suffix",
    "without_metadata",
    "without_places",
    "write",
]
