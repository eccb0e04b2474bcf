"""Look into the folders of queues, in use or not, without a write: what is wrong, and what is whole."""
