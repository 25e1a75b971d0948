"""Sweeps: a callable and a space, searched with Ray Tune."""
