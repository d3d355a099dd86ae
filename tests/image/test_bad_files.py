"""Unusable files: a one-line message says what was expected, what came, and what to do."""

import io
import os
import resource
import stat
import sys
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from mutations import seeds
from PIL import Image as PillowImage

from verax import image
from verax.errors import ImageContractError, ImageReadError, MissingExtraError, OutputError

GREY = np.full((20, 30, 3), 0.5, np.float32)
SEEDS = seeds()
NOBODY = 65534


def frames(format, **options):
    pictures = [PillowImage.new("RGB", (24, 24), (shade, 0, 0)) for shade in (0, 90, 180)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, format, save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


@pytest.fixture
def open_folder():
    """A folder that an ordinary user can enter, also when the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def ordinary_user(open_folder):
    """File permissions do not bind root: step down for the length of a test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


@pytest.mark.parametrize("name", SEEDS)
def test_a_picture_beyond_the_limit_is_refused_from_its_header(name):
    with pytest.raises(ImageReadError, match=r"megapixels, the file's header says (48x32|32x48)"):
        image.decode(SEEDS[name], max_pixels=1000)


def test_a_bomb_is_refused_before_it_is_inflated():
    header = bytearray(SEEDS["png-8"])
    header[16:24] = (60000).to_bytes(4) * 2
    with pytest.raises(ImageReadError, match="60000x60000 = 3600; scale it down"):
        image.decode(bytes(header))


def test_a_header_that_promises_more_than_the_file_holds_costs_no_memory():
    header = bytearray(SEEDS["png-8"])
    header[16:24] = (14000).to_bytes(4) * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageReadError, match="cut short"):
        image.decode(bytes(header))

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file; get another copy"),
        (b"just words\n", "a text file; check the path"),
        (b"\0\1\2\3" * 9, "a file of another kind"),
        (b"%PDF-1.7", "a PDF file"),
        (b"<svg xmlns=''/>", "an SVG file"),
        (frames("PNG"), "3 frames or pages; save one of them as PNG"),
        (frames("WEBP"), "3 frames or pages"),
        (frames("AVIF"), "3 frames or pages"),
        (frames("TIFF"), "3 frames or pages"),
    ],
    ids=["empty", "text", "binary", "pdf", "svg", "apng", "webp", "avif", "tiff"],
)
def test_what_is_no_still_picture_is_named(data, says):
    with pytest.raises(ImageReadError) as caught:
        image.decode(data, name="photo.png")

    assert str(caught.value).startswith("photo.png: expected ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def tiff(levels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            tiff(np.zeros((8, 8), np.float32)),
            "got floating point samples of 32 bits; convert",
        ),
        (tiff(np.zeros((8, 8), np.int16)), "got signed samples of 16 bits; convert the picture"),
        (tiff(np.zeros((8, 8), np.uint16), photometric=32803), "camera raw"),
        (tiff(np.zeros((8, 8), np.uint8), subfiletype=1), "previews only"),
    ],
    ids=["float", "signed", "cfa", "preview"],
)
def test_tiffs_of_other_kinds_are_named(data, says):
    with pytest.raises(ImageReadError, match=says):
        image.decode(data)


@pytest.mark.parametrize("name", SEEDS)
def test_half_a_file_is_refused(name):
    data = SEEDS[name]
    with pytest.raises(ImageReadError, match="expected"):
        image.decode(data[: len(data) // 2])


def test_jpeg_with_hundreds_of_scans_is_refused():
    data = SEEDS["jpeg-progressive"]
    start = data.index(b"\xff\xc2") + 5  # height and width of the frame
    large = data[:start] + (14000).to_bytes(2) * 2 + data[start + 4 :]
    with pytest.raises(ImageReadError, match="expected a JPEG file of a plausible size"):
        image.decode(large + b"\xff\xda" * 200 + bytes(100_000))


def test_high_dynamic_range_is_refused():
    data = bytearray(imagecodecs.avif_encode(np.zeros((8, 8, 3), np.uint8), transfer=16))
    with pytest.raises(ImageReadError, match="export it as SDR"):
        image.decode(bytes(data))


def test_missing_file_folder_and_pipe_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, says in {"none.png": "found no file", ".": "a folder", "pipe": "pipe"}.items():
        with pytest.raises(ImageReadError, match=says) as error:
            image.read(tmp_path / name)
        assert str(error.value).count("expected a") == 1  # one message, not one within another
    with pytest.raises(ImageReadError, match="null"):
        image.read("a\0b.png")


def test_line_breaks_in_names_do_not_reach_the_message(tmp_path):
    with pytest.raises(ImageReadError) as caught:
        image.read(tmp_path / "two\nlines.png")

    assert "\n" not in str(caught.value)


def test_a_file_without_permission_is_named(open_folder, request):
    image.write(open_folder / "a.png", GREY)
    (open_folder / "a.png").chmod(0)
    request.getfixturevalue("ordinary_user")

    with pytest.raises(ImageReadError, match="may not be read"):
        image.read(open_folder / "a.png")


def test_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(OutputError, match=r"\.png, \.jpg, \.jpeg, .* got the suffix '\.gif'"):
        image.write(tmp_path / "a.gif", GREY)
    with pytest.raises(OutputError, match="got a name without suffix"):
        image.write(tmp_path / "a", GREY)


def test_a_write_protected_file_stays(tmp_path):
    target = tmp_path / "a.png"
    image.write(target, GREY)
    target.chmod(0o444)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="write-protected"):
        image.write(target, GREY * np.float32(0.5))

    assert target.read_bytes() == before


def test_folder_missing_folder_and_device_are_no_targets(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    messages = {
        "folder.png": "got an existing folder",
        "no/a.png": "found none",
        "pipe.png": "pipe",
    }
    for name, says in messages.items():
        with pytest.raises(OutputError, match=says):
            image.write(tmp_path / name, GREY)


def test_a_folder_without_permission_is_no_target(open_folder, request):
    request.getfixturevalue("ordinary_user")
    if os.geteuid() != NOBODY:
        open_folder.chmod(0o555)
    with pytest.raises(OutputError, match="the folder is write-protected"):
        image.write(open_folder / "a.png", GREY)

    assert list(open_folder.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.png"
    image.write(target, GREY)
    before = target.read_bytes()
    noise = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match="nothing was left there"):
            image.write(target, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_permissions_of_the_target_are_kept_and_links_followed(tmp_path):
    target, link = tmp_path / "a.png", tmp_path / "link.png"
    image.write(target, GREY)
    target.chmod(0o640)
    link.symlink_to(target)
    image.write(link, GREY * np.float32(0.5))

    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert image.read(target).pixels[0, 0, 0] == pytest.approx(0.25, abs=0.002)


def test_new_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        image.write(tmp_path / "a.png", GREY)
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ([[0.5]], "expected a numpy array, got list"),
        (np.zeros((4, 4), np.float32), "expected .H, W, 3. float32"),
        (np.zeros((4, 4, 3)), "got .4, 4, 3. float64"),
        (np.zeros((0, 4, 3), np.float32), "at least one pixel"),
        (np.full((4, 4, 3), np.nan, np.float32), "got NaN"),
        (np.full((4, 4, 3), 255, np.float32), "divide 8-bit data by 255"),
        (np.full((4, 4, 3), -0.1, np.float32), r"got -0\.1"),
    ],
    ids=["list", "plane", "float64", "empty", "nan", "255", "negative"],
)
def test_arrays_outside_the_contract_are_refused(array, says):
    with pytest.raises(ImageContractError, match=says):
        image.check_image(array)
    with pytest.raises(ImageContractError, match=says):
        image.encode(array)


def test_a_strip_is_readable_and_too_small_to_restore():
    strip = image.decode(image.encode(np.zeros((1, 300, 3), np.float32))).pixels
    with pytest.raises(ImageContractError, match="at least 16 px on each side, got 300x1"):
        image.check_size(strip)

    assert image.check_size(GREY) is GREY


def test_warnings_stay_as_they_were_under_threads():
    damaged = SEEDS["avif"].replace(b"II*\0", b"II*\xff").replace(b"MM\0*", b"MM\0\xff")
    before = list(warnings.filters)

    def attempt(number):
        try:
            image.decode(damaged if number % 2 else SEEDS["jpeg"])
        except ImageReadError:
            return threading.get_ident()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(40)))

    assert list(warnings.filters) == before


def test_heic_without_its_extra_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with pytest.raises(
        MissingExtraError, match=r"Reading HEIC .* install '(verax\[heic|pillow-heif)"
    ):
        image.decode(SEEDS["heif"])
    with pytest.raises(MissingExtraError, match="Writing HEIC"):
        image.encode(GREY, format="heif")
