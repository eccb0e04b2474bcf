"""The crash suite: every fault that a single-volume log can meet, injected; docs/reliability.md says which."""
