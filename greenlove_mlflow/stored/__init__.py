"""Makes reports, comparisons and tables from stored runs."""
