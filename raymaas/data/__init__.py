"""Data sets: where rows come from, what is in them, and how they are divided."""
