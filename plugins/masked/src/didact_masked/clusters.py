"""Targets that are clusters, and the codebooks that say where these are (HuBERT; BEiT, with clusters of patches)."""

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

from didact import (
    Finding,
    Network,
    Preflight,
    SpecError,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    View,
)
from didact.errors import of_field
from didact.spec import to_data
from didact_masked.descriptors import Descriptor, DescriptorModule
from didact_masked.mfcc import MFCC


@attrs.frozen(kw_only=True)
class ClusterTargets(TargetBuilder):
    """The cluster that a position's description falls into: a number below ``clusters``.

    Hsu et al. 2021, HuBERT, section II.A, with `MFCC` for its first iteration and `EarlierLayer` for the later ones. Of
    `PatchPixels`, or of an earlier run's layer, the clusters are a visual vocabulary, as BEiT predicts (Bao et al.
    2022, whose own is a trained discrete VAE). ``didact cluster FILE`` finds the centroids for the experiment in FILE.

    Attributes:
        descriptor: of a position.
        clusters: C; 100 of MFCCs and 500 of later layers in HuBERT, 8192 words in BEiT.
        codebook: the file with the centroids, as ``didact cluster`` writes it; a relative path is looked for where the
            run is started. It must stay: a run that is resumed is built from it.
    """

    codebook: str
    descriptor: Descriptor = MFCC()
    clusters: int = 100

    def validate(self) -> None:
        self.require(self.clusters >= 2, "clusters", "at least 2")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """How many clusters there are to tell apart."""
        yield Finding.fine(f"a position is one of {self.clusters:,} clusters of {self.codebook}", where="codebook")

    def build(self, network: Network) -> ClusterTargetsModule:
        with of_field("descriptor"):
            descriptor = self.descriptor.build(network)
        return ClusterTargetsModule(descriptor, read_codebook(self, descriptor.width))


class ClusterTargetsModule(TargetBuilderModule):
    """The descriptor and the centroids.

    Attributes:
        centroids: (C, F) float32.
    """

    centroids: Tensor

    def __init__(self, descriptor: DescriptorModule, centroids: Tensor) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.register_buffer("centroids", centroids)
        self.width = len(centroids)

    @torch.no_grad()
    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target for each view: the nearest centroids, ids (B, T) int64."""
        return tuple(Target(view=index, values=self.nearest(one.view)) for index, one in enumerate(passes))

    def nearest(self, view: View) -> Tensor:
        """The ids (B, T) int64 of the centroids nearest to each position's description."""
        described = self.descriptor(view)  # (B, T, F)
        with torch.autocast(described.device.type, enabled=False):
            products = described @ self.centroids.T  # (B, T, C)
            nearest: Tensor = (self.centroids.square().sum(1) - 2 * products).argmin(-1)
        return nearest


def read_codebook(spec: ClusterTargets, width: int) -> Tensor:
    """The centroids (C, F) of the codebook that a spec names.

    Raises:
        SpecError: there is none, it is damaged, or it was made for other settings.
    """
    path, mend = Path(spec.codebook), "didact cluster FILE, with the experiment's file, makes it"
    again = f"{mend}, and with --replace makes it again"
    try:
        with np.load(path, allow_pickle=False) as held:
            made_for: dict[str, Any] = json.loads(str(held["made_for"]))
            centroids = torch.from_numpy(held["centroids"])
    except FileNotFoundError:
        there = f"there is no codebook in {path}"
        raise SpecError(
            there, where="codebook", mend=f"{mend}; a relative path is looked for in {Path.cwd()}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SpecError(f"{path} is no codebook, or damaged: {error}", where="codebook", mend=again) from None
    held, asked = f"{json.dumps(made_for)}, {centroids.shape[1]} numbers each", f"{json.dumps(settings(spec))}, {width}"
    if made_for != settings(spec) or tuple(centroids.shape) != (spec.clusters, width):
        raise SpecError(
            f"the codebook in {path} was made for {held}, and the targets ask for {asked}",
            where="codebook",
            mend=f"name another file; {again}",
        )
    return centroids


def write_codebook(spec: ClusterTargets, centroids: np.ndarray) -> None:
    """Writes the centroids (C, F) float32 where the spec says; the file is there whole or not at all."""
    path = Path(spec.codebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, made_for=json.dumps(settings(spec)), centroids=centroids)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def settings(spec: ClusterTargets) -> dict[str, Any]:
    """What a codebook is made for, as plain data."""
    return {type(spec.descriptor).__name__: to_data(spec.descriptor), "clusters": spec.clusters}
