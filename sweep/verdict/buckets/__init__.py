"""Which list of buckets is best for given traffic: what one costs, the search, and lists beside each other."""
