"""Two histories to append: a translation of the Book of Ruth, and the history of a git repository."""
