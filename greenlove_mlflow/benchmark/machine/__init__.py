"""The machine that training runs on: its description, its signals and its speed."""
