"""Benches that kill, stop and take away parts of a running system, and check that all is mended."""
