"""The edge: HAProxy in front of every version, and the agent that is the only writer of its maps and servers."""
