"""Tables from and to files, with every cell as it was written.

In goes the path of a file, from CSV to SPSS; out comes a data frame, and the other way
round. Nothing here knows what a post is. Start reading at `tables.py`, which chooses
the reader by the end of the name; `cells.py` says what a cell may hold. Both functions
are public as `mmevent.posts.read_table` and `mmevent.posts.write_table` too.
"""

from mmevent.tables.tables import read_table, write_table

__all__ = ["read_table", "write_table"]
