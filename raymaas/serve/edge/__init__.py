"""The edge: HAProxy in front of every version, and the agent that alone writes its map and servers."""
