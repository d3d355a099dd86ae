"""The web page: its routes, its history of entries, what its workers do."""
