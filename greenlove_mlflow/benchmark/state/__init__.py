"""The state of a training: found by following references, kept aside, put back where it changed, and checked."""
