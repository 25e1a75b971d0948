"""Passes: one file each, its settings beside what it does."""
