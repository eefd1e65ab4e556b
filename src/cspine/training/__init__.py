"""How the networks learn, on one device or many."""
