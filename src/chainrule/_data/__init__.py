"""From what users hold to numbers to train on: frames, labels, rows that are not in memory, and every check."""
