"""What is told about a DaskQueue: a file for each condition, all pure."""
