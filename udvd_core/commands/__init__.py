"""The commands of ``udvd``: each adds its options to a parser and returns what it did."""
