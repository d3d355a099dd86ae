"""The fixture of the test service, `verax.testservice`, and its own tests."""

import os
from pathlib import Path

SPEC = Path(__file__).parents[3] / "shared" / "spec" / "openai-images-openapi.json"
os.environ.setdefault("VERAX_OPENAPI", str(SPEC))  # before the service is imported
