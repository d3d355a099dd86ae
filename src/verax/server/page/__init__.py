"""The web page: its HTTP routes, its history, and the jobs of its worker processes."""
