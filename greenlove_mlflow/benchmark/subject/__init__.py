"""What is benchmarked: the training step, loader, profile, model kind and memory."""
