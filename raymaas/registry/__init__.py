"""Versions, aliases, wanted deployments and runs: documents in the store, appended and never changed."""
