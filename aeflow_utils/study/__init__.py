"""Runs: how they are planned, trained, scored, stored, found again and put together."""
