"""Segments of checksummed frames on a file system: append, sync, read, roll, recover, checkpoint.

This layer knows no message and no Dask. Only ``fs`` touches the disk; ``frame`` and ``positions`` are pure.
"""
