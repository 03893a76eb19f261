"""What came of experiments: read from the logs of what was served and of what users did."""
