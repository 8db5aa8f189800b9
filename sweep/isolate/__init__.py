"""One function in a fresh process, with a deadline and a memory limit; its end is a value. Imports files and spec."""
