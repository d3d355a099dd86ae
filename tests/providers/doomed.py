"""Paid calls in processes that die in the middle of them: one line of JSON orders one call.

    {"folder", "url", "request": [kind, index], "limit", "retry", "moment"}

`moment` is when the process ends by SIGKILL: "sent" some time after sending, "come" when the answer
is there and not yet kept, "kept" right after, "end" when the call is over. This process only forks,
so that none of its threads is lost to a fork. Answers every line with the exit status.
"""

import json
import os
import signal
import sys
import threading
from datetime import date
from pathlib import Path

from asking import png
from verax.errors import VeraxError
from verax.providers import EditRequest, GenerateRequest, ImageFile
from verax.providers.budget import Budget, load_tariff
from verax.providers.images_api import connect
from verax.providers.journal import Journal
from verax.settings import Settings

FLIGHT_S = 0.03  # between sending and dying "sent"
RUN = "run"


def client_of(folder, url):
    environ = {"VERAX_API_KEY": "sk-test"}
    settings = Settings(
        home=Path(folder), base_url=url, environ=environ, retries=1, stream="never", timeout_s=20
    )
    return connect(settings, today=date(2026, 11, 20))


def request_of(client, kind, index):
    """One of a few requests; the index stands in its prompt, which the ledger keeps."""
    fields = {"model": "gpt-image-2.6-flare", "size": "1024x640", "quality": "low"}
    fields["prompt"] = f"{kind} {index}"
    if kind == "generate":
        return client.prepare(GenerateRequest(**fields))[0]
    return client.prepare(EditRequest(**fields, images=(ImageFile(png(seed=index)),)))[0]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Doomed:
    """A keep that dies before or after it has kept."""

    def __init__(self, keep, moment):
        self.keep, self.moment = keep, moment

    def __call__(self, body):
        if self.moment == "come":
            die()
        self.keep(body)
        if self.moment == "kept":
            die()

    def picture(self, link, fetch):
        return self.keep.picture(link, fetch)


def call(order):
    client = client_of(order["folder"], order["url"])
    client.transport.sleep = lambda seconds: None
    request = request_of(client, *order["request"])

    def send(request, keep):
        if order["moment"] == "sent":
            threading.Timer(FLIGHT_S, die).start()
        return client.send(request, Doomed(keep, order["moment"]))

    budget = Budget(load_tariff(), RUN, order["limit"])
    with Journal(Path(order["folder"]) / "journal") as journal:
        journal.call(
            request,
            send,
            budget=budget,
            retry_uncertain=order["retry"],
            fetch=client.transport.fetch,
        )


def main():
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            try:
                call(json.loads(line))
            except VeraxError:
                os._exit(1)
            die()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
