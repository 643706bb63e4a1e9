"""Tests that fail and should not, each group with its reason: strict, so that whoever mends one has to delete its line."""

KNOWN_FAILURES: dict[str, list[str]] = {}
