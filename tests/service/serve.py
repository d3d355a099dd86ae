"""The test service as a process of its own: python tests/service/serve.py --port 8900

Prints its base URL as the first line. POST /_script takes a JSON list of steps.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from service.server import State, serve  # the folder above must be on the path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--ledger", type=Path, default=Path("ledger.jsonl"))
    parser.add_argument("--script", default="", help="steps, comma separated")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    chosen = parser.parse_args()
    state = State(chosen.ledger, delay_s=chosen.delay)
    state.set_script([step for step in chosen.script.split(",") if step])
    server = serve(state, chosen.port)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}/v1\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
