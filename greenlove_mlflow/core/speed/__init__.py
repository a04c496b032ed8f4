"""How much faster one GPU is than another, from published figures, specs or own runs."""
