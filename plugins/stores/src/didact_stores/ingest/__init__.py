"""Ingestion: converts files to a store."""

from didact_stores.ingest.files import Place
from didact_stores.ingest.ingestion import Ingested, Progress, ingest
from didact_stores.ingest.labels import Labels
from didact_stores.ingest.pieces import Divisible
from didact_stores.ingest.writing import SUSPECT, Rejected, StoreWriter, write_store

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
