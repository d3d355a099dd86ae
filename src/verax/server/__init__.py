"""The Images endpoint and the page for people."""
