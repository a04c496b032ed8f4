"""Price sheets: ours and the user's own."""
