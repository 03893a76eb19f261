"""`freshrank experiment`: its options, what it reads from, and how it shows a report."""
