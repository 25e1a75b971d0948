"""Rollouts: how strongly measurements speak against a new version, and what to do then. No I/O and no clock."""
