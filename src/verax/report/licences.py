"""Whether a licence lets outputs made from a picture be published, read from its words.

Cautious on purpose: what is not plainly allowed is not published.
"""

import re

FORBIDS = re.compile(
    r"research|no redistribution|none stated|none at|unknown|proprietary|all rights reserved"
    r"|\bND\b|no.?deriv|(own|original) terms|terms of|collected from|looks like",
    re.IGNORECASE,
)
ALLOWS = re.compile(
    r"\bCC0|\bCC[ -]?BY|public domain|unrestricted|\bMIT\b|Apache|\bBSD\b|Unsplash|\bPD\b",
    re.IGNORECASE,
)


def may_publish(licence: str) -> str:
    """ "" where outputs may be published, else why not."""
    if not licence.strip():
        return "no licence is stated"
    found = FORBIDS.search(licence)
    if found:
        return f"its licence says: {found.group()}"
    if not ALLOWS.search(licence):
        return f"its licence does not plainly allow it: {licence}"
    return ""
