"""What a run prints: lines of progress, a live table of metrics, alerts, a summary."""
