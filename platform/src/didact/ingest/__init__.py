"""Turning files into a store."""

from didact.ingest.writing import Rejected, StoreWriter, write_store

__all__ = ["Rejected", "StoreWriter", "write_store"]
