"""A function in a fresh process, with a deadline and a memory limit; how it ends is a value. Imports files and spec."""
