"""Price sheets: the published ones and the user's own."""
