"""Queues and consumers as Dask actors, and the one caller through which actors are called."""
