"""How much faster one GPU is than another, from published figures, specifications or own runs."""
