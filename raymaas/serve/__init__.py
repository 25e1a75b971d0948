"""Serving: replicas and their protocol, the controller that runs them, the control API, and the edge in front."""
