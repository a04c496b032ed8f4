"""NVIDIA boards read through NVML."""
