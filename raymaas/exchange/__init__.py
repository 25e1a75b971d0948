"""Exchange: versions in and out of a registry, and the weights of networks that were trained elsewhere."""
