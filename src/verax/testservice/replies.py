"""The parts of the test service's answers that need no connection."""

import email.utils
import time

from verax.testservice import rules
from verax.testservice.calls import Fields
from verax.testservice.rules import Refusal
from verax.testservice.state import AHEAD_S


def events(kind: str, fields: Fields, answer: Fields) -> list[Fields]:
    """An answer as the events of a stream: previews, then the pictures, the last with usage."""
    name = "image_edit" if kind == "edit" else "image_generation"
    common = {key: value for key, value in answer.items() if key not in ("data", "usage")}
    common["created_at"] = common.pop("created")
    texts = [one["b64_json"] for one in answer["data"]]
    previews = [
        {"type": f"{name}.partial_image", "partial_image_index": index, "b64_json": texts[0]}
        for index in range(fields.get("partial_images") or 0)
    ]
    every = [*previews, *({"type": f"{name}.completed", "b64_json": text} for text in texts)]
    if "usage" in answer:
        every[-1]["usage"] = answer["usage"]
    return [event | common for event in every]


def secret(header: str) -> bool:
    return header.lower() in ("authorization", "api-key", "cookie")


def retry_after(form: str) -> dict[str, str]:
    name, _, value = form.partition("=")
    if name == "ms":
        return {"retry-after-ms": value}
    if name == "ahead":
        value = str(float(value) + AHEAD_S)
    if name in ("date", "ahead"):
        return {"Retry-After": email.utils.formatdate(time.time() + float(value), usegmt=True)}
    special: dict[str, dict[str, str]] = {
        "": {},
        "absurd": {"Retry-After": "99999"},
        "text": {"Retry-After": "soon"},
    }
    return special.get(name, {"Retry-After": name})


def models(tail: str) -> Fields:
    def one(name: str) -> Fields:
        ends = rules.MODELS[name]
        about = {"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "system"}
        return about | {"shutdown_date": ends}

    wanted = tail.removeprefix("models").strip("/")
    if not wanted:
        listed = {"object": "list", "data": [one(name) for name in rules.MODELS]}
        return rules.check_answer("models", listed)
    if wanted not in rules.MODELS:
        raise Refusal(404, f"The model '{wanted}' does not exist", "model", "model_not_found")
    return one(wanted)
