"""The training that is benchmarked: its step, its loader, its profile, its kind and its memory."""
