"""Integrations for training run by others: framework callbacks, and any loop of this process."""
