"""The standard Transformer backbone of didact."""
