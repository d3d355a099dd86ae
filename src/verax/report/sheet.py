"""Reports of restorations: a sheet of pictures and a sheet of faces for each photo, and an index
page for a folder of photos."""

import html
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from verax.errors import quantity
from verax.faces.likeness import FaceCheck, Likeness
from verax.fusion.dial import CLASSES
from verax.geometry.register import WarpedPrior
from verax.image import Image, from_uint8, replace_file, to_uint8, write
from verax.restoration import Restoration

if TYPE_CHECKING:
    from verax.making import RestorationFile

PANEL_WIDTH = 480
MARGIN = 12
CAPTION = 30
PAPER, INK = (250, 250, 248), (30, 30, 30)
# Colour-blind safe (Okabe and Ito, 2008), in the order of `verax.fusion.dial.CLASSES`.
TRUST_COLOURS = ((0, 114, 178), (0, 158, 115), (240, 228, 66), (213, 94, 0))
TRUST_LEGEND = "blue photo, green confirmed by both, yellow light of the prior, red generated"
FACE_SIDE = 240  # px, of a panel
FACE_ROOM = 0.35  # margin around a face, in face widths
MOST_FACES = 12  # the largest faces of one picture
FACE_COLUMNS = ("photo", "prior", "restoration", "generated in red")
FACE_WORDS = {"same": "the same", "another": "another", "cannot be told": "cannot be judged"}
INDEX_STYLE = (
    "body{font:16px/1.4 sans-serif;margin:2em;max-width:75em}"
    "img{max-width:100%}h2{font-size:1em;overflow-wrap:anywhere}.failed{color:#a00}"
)


def trust_picture(trust: NDArray[np.float16]) -> Image:
    """The trust map as a picture. `trust` is (H, W, 4), the shares of the photo (shown blue), of
    what photo and prior confirm (green), of light from the prior (yellow), of generated pixels
    (red)."""
    colours = np.array(TRUST_COLOURS, np.float32) / 255
    return np.asarray(np.clip(trust.astype(np.float32) @ colours, 0, 1), np.float32)


def restoration_sheet(restoration: Restoration, prior: Image | None) -> Image:
    """One picture that shows photo, prior, prior on the photo's grid, restoration and trust map,
    with a text on the result.

    `prior` is the prior as it was given; if it is None, the sheet shows only photo and restoration.
    """
    panels: list[tuple[str, Image]] = [("photo", restoration.photo.pixels)]
    if prior is not None and restoration.warped is not None:
        panels += [
            ("prior", prior),
            ("prior on the photo's grid", visible_part(restoration.warped)),
        ]
    panels.append(("restoration", restoration.pixels))
    if prior is not None:
        panels.append(("trust map", trust_picture(restoration.trust)))
    return sheet(panels, words=in_words(restoration))


def visible_part(warped: WarpedPrior) -> Image:
    """The registered prior on the photo's grid; grey where it does not cover the photo."""
    share = warped.valid[..., None]
    return np.asarray(warped.pixels * share + np.float32(0.5) * (1 - share), np.float32)


def in_words(restoration: Restoration) -> list[str]:
    """The lines of text for a sheet: size, registration, shares of the trust map, notes."""
    lines = [f"{restoration.photo.width} x {restoration.photo.height} pixels"]
    registration = restoration.registration
    if registration is not None:
        shares = restoration.trust.reshape(-1, len(CLASSES)).mean(0, dtype=np.float64)
        lines += [
            f"prior {restoration.prior}: {registration.reason}",
            f"chance that another scene fits as well {registration.p_value:.2g}, "
            f"covers {registration.coverage:.0%} of the photo",
            ", ".join(f"{name} {share:.0%}" for name, share in zip(CLASSES, shares, strict=True)),
            f"trust map: {TRUST_LEGEND}",
        ]
    return [*lines, *restoration.notes]


def sheet(panels: Sequence[tuple[str, Image]], *, words: Sequence[str], columns: int = 3) -> Image:
    """One picture with (caption, picture) panels of equal width, then a panel with text lines.

    The panels are in rows of at most `columns` panels; `words` are the lines of the text.
    """
    heights = [round(PANEL_WIDTH * p.shape[0] / p.shape[1]) for _, p in panels]
    row_height = max(heights) + CAPTION + MARGIN
    columns = min(columns, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    page = PillowImage.new(
        "RGB",
        (columns * (PANEL_WIDTH + MARGIN) + MARGIN, rows * row_height + MARGIN),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(17)
    for index, (caption, picture) in enumerate(panels):
        x, y = _corner(index, columns, row_height)
        small = cv2.resize(picture, (PANEL_WIDTH, heights[index]), interpolation=cv2.INTER_AREA)
        page.paste(PillowImage.fromarray(to_uint8(small)), (x, y + CAPTION))
        draw.text((x, y + 4), caption, INK, font)
    x, y = _corner(len(panels), columns, row_height)
    draw.multiline_text((x, y + CAPTION), _wrap(words, font), INK, font, spacing=8)
    return from_uint8(np.asarray(page))


def _corner(index: int, columns: int, row_height: int) -> tuple[int, int]:
    row, column = divmod(index, columns)
    return MARGIN + column * (PANEL_WIDTH + MARGIN), MARGIN + row * row_height


def _wrap(lines: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    out: list[str] = []
    for line in lines:
        current = ""
        for word in line.split():
            longer = f"{current} {word}".strip()
            if font.getlength(longer) > PANEL_WIDTH and current:
                out.append(current)
                longer = word
            current = longer
        out.append(current)
    return "\n".join(out)


def faces_sheet(restoration: Restoration) -> Image | None:
    """One picture with a row for each of the 12 largest faces in the photo, largest first.

    A row shows the face in the photo, in the registered prior, in the restoration, and again in the
    restoration with the generated pixels in red. None if no face was found in the photo, or if the
    prior was not registered.
    """
    if not restoration.faces or restoration.warped is None:
        return None
    marked = restoration.pixels.copy()
    share = restoration.trust[..., CLASSES.index("generated")].astype(np.float32)[..., None]
    red = np.array(TRUST_COLOURS[CLASSES.index("generated")], np.float32) / 255
    marked += 0.7 * share * (red - marked)
    pictures = (
        restoration.photo.pixels, restoration.warped.pixels, restoration.pixels, marked,
    )  # fmt: skip
    checks = sorted(restoration.faces, key=lambda check: -check.face.width)[:MOST_FACES]
    row = FACE_SIDE + CAPTION + MARGIN
    size = (len(pictures) * (FACE_SIDE + MARGIN) + MARGIN, CAPTION + len(checks) * row)
    page = PillowImage.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for column, name in enumerate(FACE_COLUMNS):
        draw.text((MARGIN + column * (FACE_SIDE + MARGIN), 6), name, INK, font)
    for index, check in enumerate(checks):
        top = CAPTION + index * row
        for column, picture in enumerate(pictures):
            panel = PillowImage.fromarray(to_uint8(cut_out(picture, check)))
            page.paste(panel, (MARGIN + column * (FACE_SIDE + MARGIN), top))
        draw.text((MARGIN, top + FACE_SIDE + 4), _face_words(check), INK, font)
    return from_uint8(np.asarray(page))


def cut_out(picture: Image, check: FaceCheck) -> Image:
    """The square around a face, with a margin, resized to 240x240 px.

    `picture` is on the photo's grid; `check` has the place of the face in the photo. Where the
    square exceeds the picture, the pixels of the picture's edge are repeated.
    """
    left, top, right, bottom = check.face.box
    side = max(right - left, bottom - top) + 2 * FACE_ROOM * check.face.width
    scale = FACE_SIDE / side
    middle = ((left + right) / 2, (top + bottom) / 2)
    matrix = np.array(
        [
            [scale, 0, FACE_SIDE / 2 - scale * middle[0]],
            [0, scale, FACE_SIDE / 2 - scale * middle[1]],
        ]
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    panel = cv2.warpAffine(
        picture, matrix, (FACE_SIDE, FACE_SIDE), flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.clip(panel, 0, 1), np.float32)


def _face_words(check: FaceCheck) -> str:
    """A line of text on whether restoration and prior show the same face as the photo."""
    return (
        f"face in the restoration: {_verdict(check.restoration)}, {check.generated:.0%} generated; "
        f"in the prior: {_verdict(check.prior)}"
    )


def _verdict(likeness: Likeness) -> str:
    value = "" if likeness.value is None else f" ({likeness.value:.2f})"
    return f"{FACE_WORDS[likeness.verdict]}{value}"


def write_report(folder: Path, result: "RestorationFile", record: dict[str, Any]) -> None:
    """Write sheet.png, trust.png (if there is a prior), faces.png (if there are faces) and
    report.json into a folder. `result` has the restoration and its prior; `record` is the content
    of report.json, to which the path of trust.png is added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prior = None if result.prior is None else result.prior.photo.pixels
    write(folder / "sheet.png", restoration_sheet(result.restoration, prior))
    if prior is not None:
        write(folder / "trust.png", trust_picture(result.restoration.trust))
        record["trust_map"] = str(folder / "trust.png")
    strip = faces_sheet(result.restoration)
    if strip is not None:
        write(folder / "faces.png", strip)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8", errors="backslashreplace")


def write_index(folder: Path, rows: Sequence[tuple[Path, Mapping[str, Any]]]) -> Path:
    """Write folder/index.html, a page that shows the reports of all photos; returns its path.

    `rows` has for each photo the folder of its report, and a dict with the data of the restoration
    ("photo", "prior", "seconds", "notes"), or with "photo" and "error" if it failed.
    """
    parts = "".join(_index_row(folder, place, record) for place, record in rows)
    failed = sum("error" in record for _, record in rows)
    page = (
        f"<!doctype html><meta charset=utf-8><title>Restorations</title>"
        f"<style>{INDEX_STYLE}</style>"
        f"<h1>{len(rows) - failed} of {quantity(len(rows), 'photo')} restored</h1>{parts}"
    )
    replace_file(folder / "index.html", page.encode(errors="backslashreplace"))
    return folder / "index.html"


def _index_row(folder: Path, place: Path, record: Mapping[str, Any]) -> str:
    name = html.escape(str(record["photo"]))
    if "error" in record:
        return f"<h2>{name}</h2><p class=failed>{html.escape(record['error'])}</p>"
    sheet = os.path.relpath(place / "sheet.png", folder).replace(os.sep, "/")
    notes = "".join(f"<br>{html.escape(note)}" for note in record["notes"])
    link = html.escape(quote(os.fsencode(sheet)), quote=True)
    summary = f"prior {html.escape(record['prior'])}, {record['seconds']:.1f} s{notes}"
    picture = f'<a href="{link}"><img loading=lazy src="{link}" alt=""></a>'
    return f"<h2>{name}</h2><p>{summary}</p>{picture}"
