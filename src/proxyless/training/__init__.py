"""A compact network is trained for its task, and evaluated."""
