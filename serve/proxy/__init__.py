"""HAProxy in front of the replicas, and all that depends on Ray Serve's internals."""
