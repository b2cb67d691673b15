"""How a path is chosen: update rules, objectives and rewards, budgets, and the loop of a search."""
