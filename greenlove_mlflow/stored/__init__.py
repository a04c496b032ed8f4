"""From stored runs to reports, comparisons and tables of runs."""
