"""k-means clustering of an experiment's target features, which gives the centroids of `ClusterTargets`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch

from didact import Experiment, SpecError, collate
from didact.randomness import generator, key
from didact.tensors import move
from didact_masked.clusters import ClusterTargets, write_codebook
from didact_masked.target_features import TargetFeatureModule

BATCH = 16  # samples whose features are computed at once
# as in fairseq's learn_kmeans.py for HuBERT
FIT: dict[str, Any] = {
    "max_iter": 100,
    "batch_size": 10_000,
    "n_init": 20,
    "max_no_improvement": 100,
    "reassignment_ratio": 0.0,
}


@attrs.frozen(kw_only=True)
class Clustering:
    """The result of a clustering.

    Attributes:
        vectors: number of clustered vectors.
        samples: number of samples that the vectors come from.
        explained: share of the vectors' variance that the clusters explain.
        used: effective number of clusters: the exponential of the entropy of their sizes.
    """

    vectors: int
    samples: int
    explained: float
    used: float


def describe(
    experiment: Experiment,
    feature: TargetFeatureModule,
    vectors: int,
    seed: int,
    *,
    device: torch.device,
    watch: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, int]:
    """Computes the target features of the positions of samples in random order.

    Args:
        experiment: the experiment, for its source and encoder.
        feature: the target feature to compute.
        vectors: largest number of positions; fewer if the source has fewer.
        seed: seed of the order.
        device: the device of ``feature``.
        watch: called with the number of positions so far, after every few samples.

    Returns:
        The features (P, F) float32, and the number of samples that they come from.
    """
    samples = experiment.source.open()
    order = torch.randperm(len(samples.lengths), generator=generator(seed, "cluster")).tolist()
    found: list[np.ndarray] = []
    count = seen = 0
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        view = collate([samples.content(index) for index in chosen], experiment.of_view(0)[0])
        values = feature(move(view, device)).cpu()  # (B, T, F)
        held = torch.ones(values.shape[:2], dtype=torch.bool) if view.padding is None else ~view.padding
        for sample, real in zip(values, held, strict=True):
            found.append(sample[real][: vectors - count].numpy())
            count, seen = count + len(found[-1]), seen + 1
            if count == vectors:
                break
        watch(count)
        if count == vectors:
            break
    return np.concatenate(found), seen


def fit(spec: ClusterTargets, vectors: np.ndarray, samples: int, seed: int) -> Clustering:
    """Clusters vectors (P, F) and writes the codebook.

    Raises:
        SpecError: there are fewer vectors than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(vectors) < spec.clusters:
        raise SpecError(
            f"{spec.clusters} clusters need as many positions, got {len(vectors)}",
            where="targets.clusters",
            hint="use fewer clusters, or more samples",
        )
    means = MiniBatchKMeans(n_clusters=spec.clusters, init="k-means++", tol=0.0, random_state=key(seed) % 2**32, **FIT)
    ids = means.fit_predict(vectors)
    centroids = means.cluster_centers_.astype(np.float32)
    write_codebook(spec, centroids)
    left = float(np.square(vectors - centroids[ids]).sum())
    sizes = np.bincount(ids, minlength=spec.clusters) / len(ids)
    entropy = -float((sizes[sizes > 0] * np.log(sizes[sizes > 0])).sum())
    return Clustering(
        vectors=len(vectors),
        samples=samples,
        explained=1 - left / total if (total := float(np.square(vectors - vectors.mean(0)).sum())) else 1.0,
        used=float(np.exp(entropy)),
    )
