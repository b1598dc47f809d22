"""What figures and images mean: intervals, duplicates, labels that are likely wrong."""
