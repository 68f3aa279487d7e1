"""Where and how work runs: workers, machines, clusters, chains."""
