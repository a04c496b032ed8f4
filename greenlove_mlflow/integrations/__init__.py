"""Trainings that others run: by frameworks, by their callbacks, by any loop of this process."""
