"""Tests on a real cluster, whichever KUBECONFIG names: `make e2e`."""
