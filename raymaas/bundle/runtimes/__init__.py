"""Runtimes: each loads a version's files and runs them; all give the same predictions."""
