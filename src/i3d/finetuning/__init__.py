"""From one's own clips to a model: what is wrong with them, what to choose, features, heads, and what came out."""
