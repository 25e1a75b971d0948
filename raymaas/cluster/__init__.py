"""The processes of a cluster on this machine: started, supervised, found again, and ended by pid and start time."""
