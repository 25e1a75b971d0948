"""Transforms: from the columns a client sends to the numbers a network takes; fitted on training rows only."""
