"""Lists of buckets in tables and pictures, from `buckets.json` alone."""
