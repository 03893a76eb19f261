"""A replica without HTTP: features, model, scores, impressions, events, statuses, metrics."""
