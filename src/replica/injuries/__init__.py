"""What breaks a vertebra, what only looks like it, and how both are painted into the bone."""
