"""The machine that a training runs on: what it is, what it says of itself, how fast it is."""
