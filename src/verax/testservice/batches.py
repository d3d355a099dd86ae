"""Files and batches of the test service. Each query of a batch moves it to its next status.

The dictionary `ServiceState.batch_plan` makes batches fail:

    "expire_after": 2               answer two lines, then expire
    "fail_lines": {1: "refuse"}     refuse line 1 (of 0, 1, ...) by moderation
    "invalid": True                 fail the validation of the batch
    "create": [502, 0, 200]         create the batches, but answer the first request with status
                                    502, the second with a closed connection (0), the third with
                                    an empty object (200)
    "bodies": f                     replace the body of each successful answer by f(body)
    "garble": True                  put a line that is not JSON into the result file
"""

import base64
import json
import time
from collections.abc import Callable

from verax.testservice import Refusal, calls, check_answer, check_fields
from verax.testservice.calls import Form, JsonObject
from verax.testservice.state import ServiceState

MOVES = {"validating": "in_progress", "in_progress": "finalizing", "finalizing": "completed"}


def files(service: ServiceState, verb: str, tail: str, form: Form | None) -> JsonObject | bytes:
    """Answer a request below /files: JSON, or the content of a file. `verb` is the HTTP method,
    `tail` the path from "files" on, such as "files/ID/content"; `form` is the form of an upload,
    None for other requests. Raises Refusal 404 for an unknown id."""
    parts = tail.split("/")
    if form is not None:
        fields = {name: data for name, file, data in form if not file}
        name, data = next((file, data) for _, file, data in form if file)
        return file_record(service, add_file(service, name, data, fields["purpose"].decode()))
    if len(parts) == 1:
        return {"object": "list", "data": [file_record(service, name) for name in service.files]}
    if parts[1] not in service.files:
        raise Refusal(404, f"No such File object: {parts[1]}", "id", "not_found")
    if verb == "DELETE":
        del service.files[parts[1]]
        return {"id": parts[1], "object": "file", "deleted": True}
    if parts[2:] == ["content"]:
        return bytes(service.files[parts[1]]["data"])
    return file_record(service, parts[1])


def add_file(service: ServiceState, name: str, data: bytes, purpose: str) -> str:
    """Store an uploaded file. Returns its id."""
    with service.lock:
        service.files_ever += 1
        key = f"file-{service.files_ever:06d}"
        service.files[key] = {"data": data, "filename": name, "purpose": purpose}
    return key


def file_record(service: ServiceState, key: str) -> JsonObject:
    """OpenAI's description of the file with the id `key`."""
    file = service.files[key]
    record = {"id": key, "object": "file", "bytes": len(file["data"]), "created_at": 1_760_000_000}
    return record | {
        "filename": file["filename"],
        "purpose": file["purpose"],
        "status": "processed",
    }


def batches(service: ServiceState, verb: str, tail: str, body: bytes) -> JsonObject:
    """Answer a request below /batches. `verb` is the HTTP method, `tail` the path from "batches"
    on, such as "batches/ID/cancel"; `body` is the body of the request, JSON if it creates a batch.
    Raises Refusal 404 for an unknown id."""
    parts = tail.split("/")
    if verb == "POST" and len(parts) == 1:
        return create(service, json.loads(body))
    if len(parts) == 1:
        return {"object": "list", "data": list(service.batches.values()), "has_more": False}
    batch = service.batches.get(parts[1])
    if batch is None:
        raise Refusal(404, f"No batch found with id '{parts[1]}'.", None, "not_found")
    if parts[2:] == ["cancel"]:
        batch["status"] = "cancelled"
    elif verb == "GET" and batch["status"] in MOVES:
        advance(service, batch)
    return batch


def create(service: ServiceState, order: JsonObject) -> JsonObject:
    """Create a batch as `order`, the body of the request, says. Returns OpenAI's description of the
    batch, or the faulty answer of the batch plan. Raises Refusal if the order is not valid."""
    file = service.files.get(order["input_file_id"])
    if file is None or file["purpose"] != "batch":
        text = (
            "input_file_id: expected a file uploaded with the purpose batch, got "
            f"{order['input_file_id']}; upload it"
        )
        raise Refusal(400, text, "input_file_id")
    if order["completion_window"] != "24h":
        text = f"completion_window: expected 24h, got {order['completion_window']}; correct it"
        raise Refusal(400, text, "completion_window", "invalid_value")
    lines = file["data"].splitlines()
    if len(lines) > 50_000 or len(file["data"]) > 200_000_000:
        text = (
            f"expected a batch file of at most 50,000 lines and 200 MB, got {len(lines)} lines and "
            f"{len(file['data']) / 1e6:.0f} MB; split the batch"
        )
        raise Refusal(400, text, "input_file_id", "invalid_value")
    batch = {
        "id": f"batch_{len(service.batches) + 1:06d}",
        "object": "batch",
        "endpoint": order["endpoint"],
        "input_file_id": order["input_file_id"],
        "completion_window": "24h",
        "status": "failed" if service.batch_plan.get("invalid") else "validating",
        "created_at": int(time.time()),
        "output_file_id": None,
        "error_file_id": None,
        "errors": None,
        "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        "metadata": order.get("metadata"),
    }
    if batch["status"] == "failed":
        error = {"code": "invalid_json_line", "message": "line 1 is not JSON", "line": 1}
        batch["errors"] = {"object": "list", "data": [error]}
    service.batches[batch["id"]] = batch
    faults = service.batch_plan.get("create", [])
    if faults:
        return failing_answer(faults.pop(0))
    return batch


def failing_answer(status: int) -> JsonObject:
    """A faulty answer to a request that created a batch: {} for the status 200. For the status 0,
    raises ConnectionResetError, which closes the connection; for any other status, Refusal with
    this status."""
    if status == 200:
        return {}
    if status == 0:
        raise ConnectionResetError
    text = f"the plan of this test demands an answer with status {status}"
    raise Refusal(status, text, None, "server_error")


def advance(service: ServiceState, batch: JsonObject) -> None:
    """Move the description `batch` to its next status; if that is "completed", answer its lines. If
    the batch plan has "expire_after", only that many lines are answered; it becomes "expired"."""
    batch["status"] = MOVES[batch["status"]]
    if batch["status"] != "completed":
        return
    lines = [json.loads(x) for x in service.files[batch["input_file_id"]]["data"].splitlines()]
    limit = service.batch_plan.get("expire_after", len(lines))
    good: list[JsonObject] = []
    bad: list[JsonObject] = []
    for index, line in enumerate(lines):
        result = answer_line(service, line, index) if index < limit else expired_result(line)
        (good if (result["response"] or {}).get("status_code") == 200 else bad).append(result)
    batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
    if good:
        batch["output_file_id"] = write_lines(service, "output", list(reversed(good)))
    if bad:
        batch["error_file_id"] = write_lines(service, "errors", bad)
    if limit < len(lines):
        batch["status"] = "expired"


def write_lines(service: ServiceState, name: str, lines: list[JsonObject]) -> str:
    """Store result lines as the file "<name>.jsonl", one JSON object a line. Returns its id."""
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if service.batch_plan.get("garble"):
        data = b'{"custom_id": "half a li\n' + data
    return add_file(service, f"{name}.jsonl", data, "batch_output")


def expired_result(line: JsonObject) -> JsonObject:
    """The line of the result file for a request that was not answered before its batch expired."""
    error = {"code": "batch_expired", "message": "This request could not be executed in time."}
    return {"id": "x", "custom_id": line["custom_id"], "response": None, "error": error}


def answer_line(service: ServiceState, line: JsonObject, index: int) -> JsonObject:
    """The line of the result file for request number `index` (from 0) of a batch: its answer, or
    the error if it was refused."""
    try:
        if service.batch_plan.get("fail_lines", {}).get(index) == "refuse":
            raise calls.moderation("input")
        status, body = 200, run_line(service, line)
    except Refusal as refusal:
        status, body = refusal.status, {"error": refusal.error}
    response = {"status_code": status, "request_id": calls.request_id(), "body": body}
    result = {"id": f"batch_req_{index}", "custom_id": line["custom_id"]}
    return result | {"response": response, "error": None}


def run_line(service: ServiceState, line: JsonObject) -> JsonObject:
    """Check the request in a line of a batch and bill half its price. Returns the answer's body."""
    kind = "edit" if line["url"] == "/v1/images/edits" else "generate"
    fields = line["body"]
    check_fields("edit-json" if kind == "edit" else "generate", fields)
    files = calls.referenced_pictures(service.files, fields) if kind == "edit" else []
    calls.check(kind, fields, files, service.today)
    painted = calls.paint(kind, fields, files)
    bill = calls.charge(fields, files, painted)
    service.ledger.bill(
        **calls.entry(kind, fields, files), usd=bill["usd"] / 2, usage=bill["usage"], step="batch"
    )
    data = [base64.b64encode(picture.data).decode() for picture in painted]
    body = {"created": int(time.time()), "data": [{"b64_json": text} for text in data]}
    body |= calls.describe(fields, painted[0].size) | {"usage": bill["usage"]}
    body = check_answer("answer", body)
    change: Callable[[JsonObject], JsonObject]
    change = service.batch_plan.get("bodies", lambda whole: whole)
    return change(body)
