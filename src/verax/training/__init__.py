"""Networks: architecture, data, losses, loop, export. Never calls a provider."""
