"""Image services: bytes over HTTP, with a journal that never pays twice."""
