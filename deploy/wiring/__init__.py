"""Parts built from a pipeline and settings: for processes on Ray, or in one, in lock-step."""
