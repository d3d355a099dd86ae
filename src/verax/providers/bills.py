"""What an answer says about its price: token counts, or dollars as a gateway states them.

Services leave counts out, send zeros, or counts under other names. What cannot be the count of a
painted picture is unknown, never zero: the journal then counts the most the call can cost.
"""

from collections.abc import Mapping
from typing import Any

from verax.providers.requests import Usage


def read_usage(usage: object) -> Usage | None:
    """The token counts under the keys of the Images API; None where they are unknown.

    A picture has input and output tokens, so an absent or zero count makes all of it unknown.
    What is not split by kind, and whatever a total holds beyond its parts, counts as image.
    """
    table = _table(usage)
    total_in, total_out = _count(table, "input_tokens"), _count(table, "output_tokens")
    if not total_in or not total_out:
        return None
    beyond = max(0, (_count(table, "total_tokens") or 0) - total_in - total_out)
    text_in = min(total_in, _count(_table(table.get("input_tokens_details")), "text_tokens") or 0)
    text_out = _count(_table(table.get("output_tokens_details")), "text_tokens") or 0
    text_out = min(total_out, text_out)
    return Usage(
        input_text=text_in,
        input_image=total_in - text_in,
        output_text=text_out,
        output_image=total_out - text_out + beyond,
    )


def stated_usd(data: Mapping[str, Any]) -> float | None:
    """The price in US dollars as a gateway states it; None where it states none, or nothing.

    With a key of one's own a gateway bills its share and the provider behind it the rest
    (`upstream_inference_cost`): the sum is what the call costs.
    """
    usage, meta = _table(data.get("usage")), _table(data.get("metadata"))
    own = meta.get("cost") if _in_dollars(meta) else None
    own = usage.get("cost") if own is None else own
    details = _table(usage.get("cost_details"))
    behind = details.get("upstream_inference_cost", usage.get("upstream_inference_cost"))
    if usage.get("is_byok") is False:  # then it is the same money told twice
        behind = None
    if own is None and behind is None:
        own = _table(data.get("verax")).get("cost_usd")  # our own gateway
    known = [usd for usd in (_dollars(own), _dollars(behind)) if usd is not None]
    return sum(known) or None


def _in_dollars(meta: Mapping[str, Any]) -> bool:
    currency = meta.get("cost_currency") or "USD"
    return isinstance(currency, str) and currency.upper() == "USD"


def _dollars(value: object) -> float | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if ok and isinstance(value, (int, float)) else None


def _count(table: Mapping[str, Any], name: str) -> int | None:
    value = table.get(name)
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if ok else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
