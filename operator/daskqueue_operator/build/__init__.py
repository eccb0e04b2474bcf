"""What a DaskQueue wants, as manifests: a file for each kind of Kubernetes object, all pure."""
