"""Where data comes from, a file each: a source is its settings, and makes the table of `raymaas.data.table`."""
