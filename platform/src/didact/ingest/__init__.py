"""Turning files into a store."""

from didact.ingest.ingestion import Ingested, Progress, ingest
from didact.ingest.labels import Labels
from didact.ingest.writing import Rejected, StoreWriter, write_store

__all__ = ["Ingested", "Labels", "Progress", "Rejected", "StoreWriter", "ingest", "write_store"]
