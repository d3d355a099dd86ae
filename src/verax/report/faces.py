"""The faces of a restoration side by side: in the photo, in the prior, in the result."""

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from verax.faces.likeness import FaceCheck, Likeness
from verax.fusion.trust import CLASSES
from verax.image import Image, from_uint8, to_uint8
from verax.report.sheet import CAPTION, INK, MARGIN, PAPER, TRUST_COLOURS
from verax.restoration import Restoration

SIDE = 240  # px of a panel
ROOM = 0.35  # face widths around a face
MOST = 12  # faces of one picture, the largest
COLUMNS = ("photo", "prior", "restoration", "generated in red")
WORDS = {"same": "the photo's", "another": "another", "cannot be told": "cannot be told"}


def faces_sheet(restoration: Restoration) -> Image | None:
    """A row per face, the largest first, with what is generated marked; None without faces."""
    if not restoration.faces or restoration.warped is None:
        return None
    marked = restoration.pixels.copy()
    share = restoration.trust[..., CLASSES.index("generated")].astype(np.float32)[..., None]
    red = np.array(TRUST_COLOURS[CLASSES.index("generated")], np.float32) / 255
    marked += 0.7 * share * (red - marked)
    pictures = (
        restoration.photo.pixels, restoration.warped.pixels, restoration.pixels, marked,
    )  # fmt: skip
    checks = sorted(restoration.faces, key=lambda check: -check.face.width)[:MOST]
    row = SIDE + CAPTION + MARGIN
    size = (len(pictures) * (SIDE + MARGIN) + MARGIN, CAPTION + len(checks) * row)
    page = PillowImage.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for column, name in enumerate(COLUMNS):
        draw.text((MARGIN + column * (SIDE + MARGIN), 6), name, INK, font)
    for index, check in enumerate(checks):
        top = CAPTION + index * row
        for column, picture in enumerate(pictures):
            panel = PillowImage.fromarray(to_uint8(cut_out(picture, check)))
            page.paste(panel, (MARGIN + column * (SIDE + MARGIN), top))
        draw.text((MARGIN, top + SIDE + 4), in_words(check), INK, font)
    return from_uint8(np.asarray(page))


def cut_out(picture: Image, check: FaceCheck) -> Image:
    """The square around a face, SIDE px wide; beyond the picture its border goes on."""
    left, top, right, bottom = check.face.box
    side = max(right - left, bottom - top) + 2 * ROOM * check.face.width
    scale = SIDE / side
    middle = ((left + right) / 2, (top + bottom) / 2)
    matrix = np.array(
        [[scale, 0, SIDE / 2 - scale * middle[0]], [0, scale, SIDE / 2 - scale * middle[1]]]
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    panel = cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.clip(panel, 0, 1), np.float32)


def in_words(check: FaceCheck) -> str:
    """A face in one line."""
    return (
        f"in the restoration {_verdict(check.restoration)}, {check.generated:.0%} generated; "
        f"in the prior {_verdict(check.prior)}"
    )


def _verdict(likeness: Likeness) -> str:
    value = "" if likeness.value is None else f" ({likeness.value:.2f})"
    return f"{WORDS[likeness.verdict]}{value}"
