"""A test service that plays the Images API on loopback: checks, bills, answers, fails on order."""
