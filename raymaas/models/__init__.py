"""Architectures: one file per family, reading like its paper, its config beside `forward`."""
