"""The processes of a raymaas cluster on this machine: started, supervised, found again and ended by pid and start time."""
