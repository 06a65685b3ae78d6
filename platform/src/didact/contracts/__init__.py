"""The contracts: what each part promises to the others."""
