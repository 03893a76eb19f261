"""Labels: their definitions, the joiner of impressions with events, and labelled rows."""
