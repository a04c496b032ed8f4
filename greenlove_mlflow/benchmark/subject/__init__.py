"""The training that is benchmarked: its step, its state, its kind and its memory."""
