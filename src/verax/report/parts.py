"""Which outputs may stand in one table: those of lines that were tried on the same pictures."""

from collections import defaultdict
from collections.abc import Sequence

from verax.bench.record import OutputRow

Name = tuple[str, str]  # method, prior
Picture = tuple[str, str]  # dataset, item
WORDS = {"files": "generated pictures", "simulated": "simulated priors"}
NOTHING = ("identity", "none")  # the do-nothing row


def parts(outputs: Sequence[OutputRow]) -> list[tuple[str, list[OutputRow]]]:
    """The outputs of a task by the sets of pictures that lines were tried on: (name, outputs).

    A part holds every line that was tried on all of its pictures. The whole comes first, unless
    only the do-nothing row was tried on it.
    """
    tried: dict[Name, set[Picture]] = defaultdict(set)
    for o in outputs:
        tried[o.method, o.prior].add((o.dataset, o.item))
    whole = set().union(*tried.values())
    owners: dict[frozenset[Picture], list[Name]] = defaultdict(list)
    for name, pictures in tried.items():
        owners[frozenset(pictures)].append(name)
    found = []
    for part, names in sorted(owners.items(), key=lambda one: (-len(one[0]), one[1])):
        if names == [NOTHING] and len(owners) > 1:
            continue
        lines = {name for name, pictures in tried.items() if pictures >= part}
        held = [o for o in outputs if (o.method, o.prior) in lines and (o.dataset, o.item) in part]
        sources = sorted({prior for _, prior in names if prior != "none"})
        told = " and ".join(WORDS.get(source, source) for source in sources) or "no prior"
        found.append(("" if part == whole else told, held))
    return found
