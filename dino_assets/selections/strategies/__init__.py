"""Selection strategies: random, cluster, farthest points, hybrid and uncertainty."""
