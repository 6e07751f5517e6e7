"""Selection strategies: random, cluster, farthest points, hybrid, medoids, herding and uncertainty."""
