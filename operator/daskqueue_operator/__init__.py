"""The Kubernetes operator of daskqueue: makes what a DaskQueue asks for, and keeps it so."""
