"""Clusters as targets, and the codebooks with their centroids (HuBERT, and BEiT with clusters of patches)."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from didact import Batch, Network, SpecError, StudentPass, Target, TargetBuilder, TargetBuilderModule, View
from didact.errors import of_field
from didact.preflight import Finding, Preflight
from didact.serialization import to_data
from didact_masked.mfcc import MFCC
from didact_masked.target_features import TargetFeature, TargetFeatureModule


@attrs.frozen(kw_only=True)
class ClusterTargets(TargetBuilder):
    """The cluster of each position's target feature, as an id below ``clusters``.

    Hsu et al. 2021, HuBERT, section II.A, with `MFCC` for the first iteration and `EarlierLayer` for later ones. With
    `PatchPixels`, or with an earlier run's layer on images, the clusters are a visual vocabulary, as in BEiT (Bao et
    al. 2022, whose vocabulary is a trained discrete VAE). ``didact cluster FILE`` computes the centroids for the
    experiment in FILE.

    Attributes:
        feature: the target feature that is clustered.
        clusters: C, the number of clusters; in HuBERT 100 for MFCCs and 500 for later layers, in BEiT 8192.
        codebook: the file with the centroids, written by ``didact cluster``. A relative path is relative to the current
            folder. The file must be kept, because a resumed run reads it again.
    """

    codebook: str
    feature: TargetFeature = MFCC()
    clusters: int = 100

    def validate(self) -> None:
        self.require(self.clusters >= 2, "clusters", "at least 2")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Reports the number of clusters."""
        yield Finding.fine(f"a position is one of {self.clusters:,} clusters of {self.codebook}", where="codebook")

    def build(self, network: Network) -> ClusterTargetsModule:
        with of_field("feature"):
            feature = self.feature.build(network)
        return ClusterTargetsModule(feature, read_codebook(self, feature.width))


class ClusterTargetsModule(TargetBuilderModule):
    """The target feature and the centroids.

    Attributes:
        centroids: (C, F) float32.
    """

    kind = "ids"
    centroids: Tensor

    def __init__(self, feature: TargetFeatureModule, centroids: Tensor) -> None:
        super().__init__()
        self.feature = feature
        self.register_buffer("centroids", centroids)
        self.width = len(centroids)

    @torch.no_grad()
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns one target for each view: the ids (B, T) int64 of the nearest centroids."""
        return tuple(Target(view=index, values=self.nearest(one.view)) for index, one in enumerate(passes))

    def nearest(self, view: View) -> Tensor:
        """Returns the ids (B, T) int64 of the centroids that are nearest to each position's feature."""
        described = self.feature(view)  # (B, T, F)
        with torch.autocast(described.device.type, enabled=False):
            products = described @ self.centroids.T  # (B, T, C)
            nearest: Tensor = (self.centroids.square().sum(1) - 2 * products).argmin(-1)
        return nearest


def read_codebook(spec: ClusterTargets, width: int) -> Tensor:
    """Reads the centroids (C, F) from the codebook of a spec.

    Raises:
        SpecError: the codebook is missing or damaged, or was made for other settings.
    """
    path, hint = Path(spec.codebook), "create it with `didact cluster FILE`, on the experiment's file"
    again = f"{hint}; --replace writes it again"
    try:
        with np.load(path, allow_pickle=False) as held:
            made_for: dict[str, Any] = json.loads(str(held["made_for"]))
            centroids = torch.from_numpy(held["centroids"])
    except FileNotFoundError:
        there = f"there is no codebook in {path}"
        raise SpecError(there, where="codebook", hint=f"{hint}; a relative path is resolved in {Path.cwd()}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SpecError(f"{path} is not a codebook, or damaged: {error}", where="codebook", hint=again) from None
    held, asked = f"{json.dumps(made_for)}, {centroids.shape[1]} numbers each", f"{json.dumps(settings(spec))}, {width}"
    if made_for != settings(spec) or tuple(centroids.shape) != (spec.clusters, width):
        raise SpecError(
            f"the codebook in {path} was made for {held}, and the targets need {asked}",
            where="codebook",
            hint=f"choose another file; {again}",
        )
    return centroids


def write_codebook(spec: ClusterTargets, centroids: np.ndarray) -> None:
    """Writes the centroids (C, F) float32 to the spec's file atomically."""
    path = Path(spec.codebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, made_for=json.dumps(settings(spec)), centroids=centroids)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def settings(spec: ClusterTargets) -> dict[str, Any]:
    """The settings that a codebook belongs to, as plain data."""
    return {type(spec.feature).__name__: to_data(spec.feature), "clusters": spec.clusters}
