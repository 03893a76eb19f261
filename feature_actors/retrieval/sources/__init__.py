"""The sources of candidates, one file each."""
