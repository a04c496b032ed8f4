"""Facts of a run, its estimate and its outcome."""
