"""The change log: batches, pages, and the contract that every storage keeps."""
