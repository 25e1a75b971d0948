"""What a run leaves for people to look at: a report with pictures, and TensorBoard events."""
