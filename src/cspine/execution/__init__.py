"""Tasks in processes that may die, on one machine or many, and the store of finished studies."""
