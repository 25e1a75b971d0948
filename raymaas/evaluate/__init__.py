"""Evaluation: figures with their uncertainty, from a `predict` callable and rows; it knows no bundle."""
