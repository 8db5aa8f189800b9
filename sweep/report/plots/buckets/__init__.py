"""Lists of buckets in tables and pictures, from `buckets.json` alone."""

FILE = "buckets.json"  # in a sweep's folder
