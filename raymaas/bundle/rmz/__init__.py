"""The coded weights file `.rmz`: a network's architecture and weights in one small self-contained file."""
