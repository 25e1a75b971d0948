"""Bundles: the files of a version, and the runtimes that load and run them. No pickle is written or read."""
