"""How a network lies on the workers: whole on each, in shards, or cut in two stages. The loop does not know which."""
