"""The jobs that worker processes run for the web page: restore photos, draw pictures of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY
from verax.image.header import TITLES, format_and_exif, header_of, usual_suffix
from verax.server.page.history import stop_suffix, write_json
from verax.server.queue import LIMIT_S, one_thread, run_limited

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from verax.image import Photo
    from verax.making import RestorationFile
    from verax.restoration import Restoration

ABOUT = {"description": 0x010E, "make": 0x010F, "camera": 0x0110, "taken": 0x0132}
GPS = 0x8825
MOST_TEXT = 200
SMALL_PX = 240


@dataclass(frozen=True, slots=True)
class PageOrder:
    """What a worker process needs to know to restore the photo of an entry in the history.

    Attributes:
        folder: the entry's folder, for the results.
        photo, prior: files of the pictures; `prior` is None if there is no prior.
        format: file format of the photo and the restored file, as Pillow names it ("JPEG").
        max_pixels: most pixels that the photo and the prior may have.
        fidelity: fidelity of the restored file, 0..1.
        system: name of the model that made the prior, "" if unknown.
        drop_gps: whether to remove the GPS position from the file.
        scale: factor by which to enlarge the file, "2", "3" or "4"; "prior" for the prior's
            resolution; "" for the photo's own size.
        task: what is wrong with the photo, such as "dehaze"; "" lets Verax detect it.
        mask: file with a drawing of any size, white where the photo is damaged, or None.
        only: file with a drawing of any size, white where the photo may change, or None.
    """

    folder: Path
    photo: Path
    prior: Path | None
    format: str
    max_pixels: int
    fidelity: float = DEFAULT_FIDELITY
    system: str = ""
    drop_gps: bool = False
    scale: str = ""
    task: str = ""
    mask: Path | None = None
    only: Path | None = None


def restore(order: PageOrder) -> None:
    """Make all files of an entry: the restored file, pictures, result.json and changes.json."""
    run_limited(_restore, LIMIT_S, order)


def _restore(order: PageOrder) -> None:
    one_thread()
    from verax import image as images

    (order.folder / "started").touch()
    output = _make_file(order)
    result = output.restoration
    write_pictures(order.folder, result)
    _write_small(order.folder)
    record = {
        **output.record(),
        "dial": result.explanation is not None,
        "about": about(order.photo),
    }
    if output.prior is not None:
        images.write(order.folder / "prior.png", output.prior.photo.pixels)
    write_json(order.folder / "result.json", record)
    if output.prior is not None and result.registration is not None:
        write_json(
            order.folder / "changes.json", _changes(order.folder, result, output.prior.photo)
        )


def write_pictures(folder: Path, result: "Restoration") -> None:
    """Write the pictures that the page shows to `folder`, as PNG: photo, restoration, trust map
    and, if there are any, the faces and the registered prior."""
    import numpy as np

    from verax import image as images
    from verax.report.sheet import faces_sheet, trust_picture

    images.write(folder / "photo.png", result.photo.pixels)
    images.write(folder / "restoration.png", result.pixels)
    images.write(folder / "trust.png", trust_picture(result.trust))
    strip = faces_sheet(result)
    if strip is not None:
        images.write(folder / "faces.png", strip)
    if result.warped is not None:
        share = result.warped.valid[..., None]
        registered = result.warped.pixels * share + result.base * (1 - share)
        images.write(folder / "registered.png", np.clip(registered, 0, 1))


def restore_example(order: PageOrder) -> None:
    """Make all files of an entry, with Verax's example photo and a simulated prior."""
    run_limited(_restore_example, LIMIT_S, order)


def _restore_example(order: PageOrder) -> None:
    one_thread()
    from verax import image as images
    from verax.priors.simulated import example

    pictures = example()
    for path, picture in ((order.photo, pictures.photo), (order.folder / "prior", pictures.prior)):
        path.write_bytes(images.encode(picture, format="png"))
    _restore(replace(order, prior=order.folder / "prior"))


def best(pictures: tuple[Path, ...], first: Path | None) -> int:
    """The index (from 0) of the best picture: the one with the lowest NIQE, a measure of quality.
    If `first` is not None, the pictures are edits of the picture in this file, and the best one has
    the best mean of two ranks: by NIQE, and by the share of its edges that `first` has too."""
    return run_limited(_best, LIMIT_S, pictures, first)


def _best(pictures: tuple[Path, ...], first: Path | None) -> int:
    one_thread()
    from verax import image as images
    from verax.priors import edit_judges, rank, text_judges

    judges = edit_judges(images.read(first).pixels) if first else text_judges(None)
    return rank([images.read(path).pixels for path in pictures], judges).order[0]


def write_file(order: PageOrder) -> None:
    """Write only the restored file, named by `file_name`, and none of the page's pictures."""
    run_limited(_write_file, LIMIT_S, order)


def _write_file(order: PageOrder) -> None:
    one_thread()
    _make_file(order)


def restore_stop(order: PageOrder) -> None:
    """Write the restored file at the order's fidelity, and what the page shows of it: picture,
    trust map, and a JSON file on the faces and on how much comes from photo and prior."""
    run_limited(_restore_stop, LIMIT_S, order)


def _restore_stop(order: PageOrder) -> None:
    one_thread()
    from verax import image as images
    from verax.report.sheet import trust_picture

    output = _make_file(order)
    stop = stop_suffix(order.fidelity)
    images.write(order.folder / f"restoration{stop}.png", output.restoration.pixels)
    images.write(order.folder / f"trust{stop}.png", trust_picture(output.restoration.trust))
    record = output.record()
    # written last, so that the pictures exist if this file does
    write_json(order.folder / f"stop{stop}.json", {n: record[n] for n in ("trust", "faces")})


def _make_file(order: PageOrder) -> "RestorationFile":
    """Restore the photo and write the restored file. Returns the restoration, the prior as it was
    read, and sentences on parts of the photo's file that the restored file does not have."""
    from verax import making
    from verax.server.api.upstream import read_opened
    from verax.settings import load

    source = order.folder / "answer-0"  # the file that the service returned, with its metadata
    file = making.Order(
        photo=order.photo,
        prior=order.prior,
        prior_source=source if source.is_file() else None,
        output=order.folder / file_name(order),
        fidelity=order.fidelity,
        max_pixels=order.max_pixels,
        system=order.system,
        drop_gps=order.drop_gps,
        scale=order.scale,
        task=order.task,
        mask=_of_photo_size(order.mask, order.photo),
        only=_of_photo_size(order.only, order.photo),
        photo_name="the photo",
        prior_name="the generated picture",
    )
    photo = read_opened(order.folder)
    return making.make(file, photo=photo, credentials=making.credentials_of(load()))


def _of_photo_size(mask: Path | None, photo: Path) -> Path | None:
    """A file with the drawing in the file `mask`, resized to the size of the photo in the file
    `photo`, since the page draws on a smaller canvas; None if `mask` is None."""
    from PIL import Image as PillowImage

    if mask is None:
        return None
    size = header_of(photo)
    target = mask.with_name(f"{mask.name}-{size.width}x{size.height}.png")
    with PillowImage.open(mask) as picture:
        picture.convert("L").resize((size.width, size.height)).save(target)
    return target


def file_name(order: PageOrder) -> str:
    """The name of the restored file, with fidelity, GPS, scale: "file-050-placeless-x2.jpg"."""
    suffix = usual_suffix(order.format)
    place = "-placeless" if order.drop_gps else ""
    scale = f"-x{order.scale}" if order.scale else ""
    return f"file-{round(100 * order.fidelity):03d}{place}{scale}{suffix}"


def about(path: Path) -> dict[str, Any]:
    """What the page says about the photo in a file: format, camera, date and description as short
    texts, and under "place" whether the file holds a GPS position."""
    format, tags = format_and_exif(path)
    fields = {
        name: str(tags[tag]).strip("\0 ")[:MOST_TEXT] for name, tag in ABOUT.items() if tag in tags
    }
    return {"format": TITLES[format], "place": GPS in tags, **fields}


def _changes(folder: Path, result: "Restoration", prior: "Photo") -> dict[str, Any]:
    """What the prior changed in the photo, as JSON: "drift" (0, nothing changed, to 100, another
    scene), "sentences" that describe the changes, and "scene_state" ("same", or a change of light
    such as "day made night"). Also writes pictures of the changes to `folder`, if the prior could
    be placed on the photo."""
    from verax import image as images
    from verax.deviation import compare, deviation, pictures
    from verax.deviation.record import sentences

    photo = result.photo.pixels
    look = compare(photo, prior.pixels, result.registration)
    changes = deviation(look)
    record = {
        "drift": changes.drift,
        "sentences": sentences(changes),
        "scene_state": changes.scene_state,
    }
    if look.alignment is None:
        return record
    images.write(folder / "overlay.png", pictures.overlay(look.pair))
    arrows = pictures.motion_field(look.pair, look.alignment.blocks)
    _write_lines(folder / "motion.png", arrows, photo.shape)
    _write_lines(folder / "edges.png", pictures.edge_picture(look.pair), photo.shape)
    if changes.objects:
        _write_boxes(folder / "objects.png", changes.objects, photo.shape)
    return record


def _write_small(folder: Path) -> None:
    """Write small.png: the picture restoration.png in `folder`, reduced to fit 240 x 240 px."""
    from PIL import Image as PillowImage

    with PillowImage.open(folder / "restoration.png") as picture:
        picture.thumbnail((SMALL_PX, SMALL_PX))
        picture.save(folder / "small.png")


def _write_lines(path: Path, drawing: "NDArray[np.float32]", shape: tuple[int, ...]) -> None:
    """Write the coloured lines of `drawing` as a transparent PNG. `drawing` (height, width, 3),
    0..1, shows the photo in grey, lines over it and a caption below; only the lines are written.
    `shape` is (height, width, ...) of the photo, which gives the height without caption."""
    import numpy as np
    from PIL import Image as PillowImage

    drawing = drawing[: round(drawing.shape[1] * shape[0] / shape[1])]
    alpha = np.clip(3 * (drawing.max(2) - drawing.min(2)), 0, 1)
    levels = np.dstack([drawing, alpha]) * 255
    PillowImage.fromarray(np.rint(levels).astype(np.uint8)).save(path)


def _write_boxes(path: Path, objects: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    """Write a transparent PNG with a frame around each object that the generator changed; its
    colour shows whether it appeared, vanished, moved or was replaced. `shape` is (height, width,
    ...) of the photo, in whose px the frames are given."""
    import cv2
    import numpy as np
    from PIL import Image as PillowImage

    from verax.deviation.pictures import COLOURS

    levels = np.zeros((*shape[:2], 4), np.uint8)
    width = max(2, max(shape) // 300)
    for change in objects:
        left, top, right, bottom = change.box
        cv2.rectangle(levels, (left, top), (right, bottom), (*COLOURS[change.kind], 255), width)
    PillowImage.fromarray(levels).save(path)
