"""What `verax restore` tells people: one sentence for a photo, figures with -v, a summary."""

import json
import sys
from typing import Any

VISIBLE = 0.005  # shares below round to nothing


def tell(record: dict[str, Any], *, as_json: bool, verbose: bool) -> None:
    """One photo's result, for programs or for people."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    print(record["output"])
    print(sentence(record))
    if verbose:
        for line in figures(record):
            print(line)
    for note in record["notes"]:
        print(f"note: {note}")


def sentence(record: dict[str, Any]) -> str:
    """What was done, in words for somebody who has one photo."""
    if record["prior"] == "none":
        return "Restored without a prior: nothing in it comes from an image generator."
    if record["prior"] == "unused":
        found = record["registration"]
        known = " If you know that it shows this scene, add --accept-prior."
        return (
            f"The prior was left out: {found['reason']}. The photo is restored without it."
            f"{known if found['placed'] == 'undecided' else ''}"
        )
    shares, explanation = record["trust"], record["explanation"]
    if explanation is None or shares["photo"] > 1 - VISIBLE:
        return "The prior shows this scene, but nothing was taken from it."
    believed = explanation["believed"]
    words = "No fault" if believed == "nothing" else f"{believed[0].upper()}{believed[1:]}"
    detail = f"{shares['generated']:.0%} of the picture is the generator's{where(record)}"
    if shares["light"] >= shares["confirmed"]:
        return f"{words} seen in the photo: the light is the prior's, and {detail}."
    return f"{words} seen in the photo: its structure has the prior's contrast, and {detail}."


def where(record: dict[str, Any]) -> str:
    """Where to see what came from the prior."""
    return f" ({record['trust_map']} shows where)" if record.get("trust_map") else ""


def figures(record: dict[str, Any]) -> list[str]:
    """The numbers behind the sentence."""
    lines = [f"{record['width']}x{record['height']}, {record['seconds']:.1f} s"]
    found, shares = record["registration"], record["trust"]
    if found is not None:
        lines.append(f"registration: {found['reason']}")
        lines.append(
            f"p = {found['p_value']:.3g}, coverage {found['coverage']:.0%}, "
            f"canvas {found['canvas']}"
        )
        lines.append(
            f"from the photo {shares['photo']:.0%}, confirmed by both {shares['confirmed']:.0%}, "
            f"light of the prior {shares['light']:.0%}, generated {shares['generated']:.0%}"
        )
    return lines


def tell_one_of_many(record: dict[str, Any], *, as_json: bool, verbose: bool) -> None:
    """A line for programs; for people a word where a prior was not used, figures with -v."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    if "error" in record:
        return
    if record["prior"] == "unused":
        reason = record["registration"]["reason"]
        print(f"prior not used: {record['photo']}: {reason}", file=sys.stderr)
    elif verbose and not as_json:
        print(record["output"])
        print("\n".join(figures(record)))


def tell_all(records: list[dict[str, Any]], folder: str) -> None:
    """The summary of a folder, and what failed."""
    done = [record for record in records if "error" not in record]
    uses = [record["prior"] for record in done]
    print(
        f"{len(done)} of {len(records)} restored in {sum(r['seconds'] for r in done):.1f} s: "
        f"prior used {uses.count('used')}, not used {uses.count('unused')}, "
        f"none {uses.count('none')}; written to {folder}",
        file=sys.stderr,
    )
    for record in records:
        if "error" in record:
            print(f"failed: {record['error']}", file=sys.stderr)
