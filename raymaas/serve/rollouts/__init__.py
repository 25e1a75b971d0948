"""Rollouts under way: what was seen of both versions, and what follows from it."""
