"""What Kaggle fixed: labels, tables, metric, splits, scoring, submission, inventory."""
