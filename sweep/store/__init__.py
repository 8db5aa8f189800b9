"""What is kept on disk: builds, ledger, outputs, samples, queries. Imports files, text and spec."""
