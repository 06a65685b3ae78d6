"""Turning files into a store."""

from didact.ingest.files import Place
from didact.ingest.ingestion import Ingested, Progress, ingest
from didact.ingest.labels import Labels
from didact.ingest.pieces import Divisible
from didact.ingest.writing import SUSPECT, Rejected, StoreWriter, write_store

__all__ = [
    "SUSPECT",
    "Divisible",
    "Ingested",
    "Labels",
    "Place",
    "Progress",
    "Rejected",
    "StoreWriter",
    "ingest",
    "write_store",
]
