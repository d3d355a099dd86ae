"""The deviation in plain sentences."""

from verax.deviation.record import Deviation

CANVAS = {
    "stretch": "stretched to another shape",
    "crop": "cropped to another shape",
    "outpaint": "extended beyond the photo",
    "letterbox": "set between bars",
}
LEAST_SCALE = 0.004
LEAST_SHIFT = 0.004  # of the side
LEAST_TURN_DEG = 0.15
LEAST_SHARE = 0.03
LEAST_COLOUR = 3.0  # ΔE00: less is hardly seen
LEAST_EV = 0.3
WORDS: dict[str, str | tuple[str, ...]] = {
    "shift": "shift_",
    "scale": "scale_",
    "rotation": "rotation_",
    "shear": "shear_",
    "perspective": "perspective_",
    "local motion": ("local_motion_", "moved_blocks"),
    "invented edges": "invented_edges",
    "lost edges": "lost_edges",
    "corners": "keypoints_",
    "structure": ("coherence_", "structure_"),
    "the finest scale that is still right": "finest_scale",
    "light and colour": ("colour_", "exposure_", "clipped_"),
    "words": "words_lost",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sentences(deviation: Deviation) -> list[str]:
    """What changed, most important first; what cannot be told is said last."""
    if deviation.placed == "undecided":
        return [f"Nobody can tell whether both show one scene: {deviation.reason}."]
    if not deviation.comparable:
        return [f"The generated picture shows another scene: {deviation.reason}."]
    parts = [
        _scene(deviation),
        _canvas(deviation),
        _geometry(deviation),
        _motion(deviation),
        _objects(deviation),
        _edges(deviation),
        _tone(deviation),
        _unknown(deviation),
    ]
    told = [part for part in parts if part]
    return told or ["The generator changed nothing that can be measured."]


def _scene(d: Deviation) -> str:
    return "" if d.scene_state == "same" else f"The generator turned {_turned(d.scene_state)}."


def _turned(state: str) -> str:
    before, _, after = state.partition(" made ")
    return f"{before} into {after}"


def _canvas(d: Deviation) -> str:
    width, height = (_whole(d, f"generated_{side}_px") for side in ("width", "height"))
    ours, theirs = (_whole(d, f"photo_{side}_px") for side in ("width", "height"))
    size = f"the {ours}x{theirs} photo came back as {width}x{height}"
    if d.canvas == "same":
        return ""
    if d.canvas == "resized":
        return f"{size[0].upper()}{size[1:]}, the same shape."
    hidden, outside = _value(d, "hidden_share"), _value(d, "outpainted_share")
    shares = []
    if hidden > LEAST_SHARE:
        shares.append(f"{hidden:.0%} of the photo is not shown")
    if outside > LEAST_SHARE:
        shares.append(f"{outside:.0%} of the picture lies outside the photo")
    more = f"; {' and '.join(shares)}" if shares else ""
    return f"The scene was reframed: {size}, {CANVAS[d.canvas]}{more}."


def _geometry(d: Deviation) -> str:
    x, y = _value(d, "scale_x", 1.0) - 1, _value(d, "scale_y", 1.0) - 1
    said = []
    if max(abs(x), abs(y)) > LEAST_SCALE:
        if abs(x - y) < max(LEAST_SCALE, 0.25 * max(abs(x), abs(y))):
            said.append(f"zoomed {'in' if x > 0 else 'out'} by {abs(x + y) / 2:.1%}")
        else:
            if abs(x) > LEAST_SCALE:
                said.append(f"{'widened' if x > 0 else 'narrowed'} the scene by {abs(x):.1%}")
            if abs(y) > LEAST_SCALE:
                what = "it" if said else "the scene"
                said.append(f"made {what} {abs(y):.1%} {'taller' if y > 0 else 'lower'}")
    dx, dy = _value(d, "shift_x_px"), _value(d, "shift_y_px")
    ways = []
    if abs(dx) > LEAST_SHIFT * _whole(d, "photo_width_px"):
        ways.append(f"{abs(dx):.0f} px to the {'right' if dx > 0 else 'left'}")
    if abs(dy) > LEAST_SHIFT * _whole(d, "photo_height_px"):
        ways.append(f"{abs(dy):.0f} px {'down' if dy > 0 else 'up'}")
    if ways:
        said.append(f"moved {'it' if said else 'the scene'} {_joined(ways)}")
    turn = _value(d, "rotation_deg")
    if abs(turn) > LEAST_TURN_DEG:
        way = "clockwise" if turn > 0 else "anticlockwise"
        said.append(f"turned {'it' if said else 'the scene'} {abs(turn):.1f}° {way}")
    return f"The generator {_joined(said)}." if said else ""


def _motion(d: Deviation) -> str:
    median, p95 = _value(d, "local_motion_median_px"), _value(d, "local_motion_p95_px")
    if p95 < 0.005 * _whole(d, "photo_width_px"):
        return ""
    return (
        f"Beyond that, places moved by {median:.1f} px (one in twenty by more than {p95:.1f} px)."
    )


def _objects(d: Deviation) -> str:
    verbs = {"appeared": "added", "vanished": "removed", "moved": "moved", "replaced": "replaced"}
    said = []
    for kind, verb in verbs.items():
        count = sum(change.kind == kind for change in d.objects)
        if count:
            said.append(f"{verb} {_number(count)} object{'s' if count > 1 else ''}")
    return f"It {_joined(said)}." if said else ""


def _edges(d: Deviation) -> str:
    invented, lost = _value(d, "invented_edges"), _value(d, "lost_edges")
    said = []
    if invented > LEAST_SHARE:
        said.append(f"{invented:.0%} of its edges have no support in the photo")
    if lost > LEAST_SHARE:
        said.append(f"{lost:.0%} of the photo's edges are gone")
    text = " and ".join(said)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _tone(d: Deviation) -> str:
    colour, stops = _value(d, "colour_difference"), _value(d, "exposure_shift_ev")
    if colour < LEAST_COLOUR:
        return ""
    light = f", {abs(stops):.1f} stops {'brighter' if stops > 0 else 'darker'}"
    light = light if abs(stops) > LEAST_EV else ""
    after = _value(d, "colour_difference_fitted")
    return (
        f"Colours differ by ΔE {colour:.1f}{light}; one colour matrix explains all but {after:.1f}."
    )


def _unknown(d: Deviation) -> str:
    """What cannot be told, in words, not in keys."""
    names = [name for name, entry in d.entries.items() if not entry.identifiable]
    said = [word for word, keys in WORDS.items() if any(name.startswith(keys) for name in names)]
    return f"Not identifiable here: {_joined(said)}." if said else ""


def _value(d: Deviation, name: str, default: float = 0.0) -> float:
    entry = d.entries.get(name)
    return default if entry is None or entry.value is None else entry.value


def _whole(d: Deviation, name: str) -> int:
    return round(_value(d, name))


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
