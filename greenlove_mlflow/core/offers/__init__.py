"""GPUs for rent: what the same run takes and costs on each offer, and which offer is best."""
