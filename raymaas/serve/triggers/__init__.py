"""Triggers: when a registered job is due, and how it is started once."""
