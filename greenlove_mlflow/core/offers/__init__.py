"""Offers of GPUs for rent: what the same training takes and costs there, and which offer is best."""
