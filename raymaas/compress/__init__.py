"""Compression: recipes of passes over a trained network. Plain PyTorch; it knows no Ray."""
