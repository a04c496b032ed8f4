"""Training state: found by following references, saved, restored where it changed, and verified."""
