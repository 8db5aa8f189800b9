"""What numbers prove, and what to choose: gates, statistics, noise, race, costs, bucket lists.

Imports everything below it but isolate and workloads.
"""
