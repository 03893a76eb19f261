"""What pipelines declare, checked against each other: streams, context, models, compound keys."""
