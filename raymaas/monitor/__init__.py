"""Watching versions that are served."""
