"""What is kept on disk: builds, the ledger, outputs, samples, and questions to them. Imports files, text and spec."""
