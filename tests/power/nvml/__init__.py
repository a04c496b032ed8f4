"""Boards by NVML."""
