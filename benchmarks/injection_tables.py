"""Tables of benchmarks/injection.py: what was measured beside what was injected."""

from typing import Any

import numpy as np

VISIBLE = 0.03  # mean change of a level within the mask below which nobody sees an object change
SAME_PLACE = 0.3  # intersection over union from which a box is in the right place
Row = dict[str, Any]

# column of the cross-talk matrix: the injection whose reading is its unit
UNITS = {
    **{name: name for name in ("shift", "scale", "aspect", "rotation", "perspective", "local")},
    "objects": "object added",
    "texture": "texture",
    "edges": "lines",
    "tone": "tone",
}
# which columns an injection is about; the rest of its row is cross-talk. New texture and new
# lines both are invented edges and new fine structure: neither can be injected without the other.
ABOUT = {
    **{name: {name} for name in ("shift", "scale", "aspect", "rotation", "perspective", "local")},
    **{f"object {what}": {"objects"} for what in ("added", "removed", "moved")},
    "texture": {"texture", "edges"},
    "lines": {"edges", "texture"},
    "tone": {"tone"},
    "none": set(),
}


def print_points(rows: list[Row]) -> None:
    """Print slope, correlation and errors of measured against injected amounts, by injection."""
    print(f"{'injected':15}{'entry':24}{'slope':>8}{'r':>9}{'rms':>9}{'worst':>9}{'measured':>10}")
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        for entry in mine[0]["truths"]:
            pairs = [(r["truths"][entry], r["readings"][entry]) for r in mine]
            print(f"{case:15}{entry:24}{line(pairs)}")
        foreign = sum(row["placed"] == "not" for row in mine)
        if foreign:
            print(f"{case:15}taken for another scene: {foreign} of {len(mine)}")


def line(pairs: list[tuple[float, float | None]]) -> str:
    measured = np.array([(t, r) for t, r in pairs if r is not None])
    if len(measured) < 5:
        return f"{'-':>8}{'-':>9}{'-':>9}{'-':>9}{len(measured):>4} of {len(pairs)}"
    x, y = measured.T
    slope, r = np.polyfit(x, y, 1)[0], np.corrcoef(x, y)[0, 1]
    rms, worst = np.sqrt(np.mean((y - x) ** 2)), np.abs(y - x).max()
    return f"{slope:8.3f}{r:9.4f}{rms:9.4f}{worst:9.3f}{len(measured):>4} of {len(pairs)}"


def print_objects(rows: list[Row]) -> None:
    print("A box is right if a fifth of it is changed, or if it holds half of the change. The last")
    print(f"two columns need an intersection over union of {SAME_PLACE} with the true box instead.")
    print(
        f"{'injected':10}{'photos':>7}{'visible':>8}{'boxes':>7}{'recall':>8}{'precision':>10}"
        f"{'recall':>9}{'precision':>10}  kinds of the right boxes"
    )
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        visible = [row for row in mine if row["visible"] >= VISIBLE]
        boxes = [o for row in visible for o in row["found"]]
        note = ""
        for rule in (lambda o: o["inside"], lambda o: o["overlap"] >= SAME_PLACE):
            hits = sum(any(rule(o) for o in row["found"]) for row in visible)
            right = sum(rule(o) for o in boxes)
            note += f"{hits / max(len(visible), 1):8.2f}{right / max(len(boxes), 1):10.2f} "
        kinds = [o["kind"] for o in boxes if o["inside"]]
        called = ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds)))
        print(f"{case:10}{len(mine):7}{len(visible):8}{len(boxes):7}{note} {called}")


def print_matrix(rows: list[Row]) -> None:
    means: dict[str, dict[str, float]] = {}
    for name, about in ABOUT.items():
        mine = [r for r in rows if r["case"] == name and r["placed"] != "not"]
        means[name] = {
            c: _mean([row["whole" if c in about else "beyond"][c] for row in mine]) for c in UNITS
        }
    unit = {column: means[row][column] for column, row in UNITS.items()}
    print(f"{'':16}" + "".join(f"{c:>13}" for c in UNITS))
    worst = 0.0
    for name, row in means.items():
        shares = {c: row[c] / max(unit[c], 1e-12) for c in UNITS}
        worst = max([worst, *(v for c, v in shares.items() if c not in ABOUT[name])])
        cells = (f"[{v:.3f}]" if c in ABOUT[name] else f"{v:.3f} " for c, v in shares.items())
        print(f"{name:16}" + "".join(f"{cell:>13}" for cell in cells))
    print(f"{'unit':16}" + "".join(f"{unit[c]:12.4f} " for c in UNITS))
    unplaced = sum(row["placed"] == "not" for row in rows)
    silent = sum(v is None for row in rows if "beyond" in row for v in row["beyond"].values())
    print(
        f"largest off the diagonal: {worst:.3f}; taken for another scene: {unplaced}; "
        f"not measured: {silent}"
    )


def _mean(values: list[float | None]) -> float:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else float("nan")
