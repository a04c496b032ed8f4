"""Records as sentences, tables and HTML fragments; numbers become text in ``numbers``."""
