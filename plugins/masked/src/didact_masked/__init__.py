"""Methods that predict what is masked, for didact: BERT, MAE, BEiT, wav2vec 2.0 and HuBERT."""

from didact_masked.classifying import MaskedCrossEntropy
from didact_masked.clusters import ClusterTargets
from didact_masked.contents import DescriptorTargets, InputIds
from didact_masked.contrasting import Contrastive
from didact_masked.decoding import CosineHead, MaskTokenDecoder, TiedHead
from didact_masked.descriptors import Descriptor, DescriptorModule
from didact_masked.earlier import EarlierLayer
from didact_masked.mfcc import MFCC
from didact_masked.pixels import PatchPixels
from didact_masked.quantization import QuantizedTarget, QuantizedTargets

__all__ = [
    "MFCC",
    "ClusterTargets",
    "Contrastive",
    "CosineHead",
    "Descriptor",
    "DescriptorModule",
    "DescriptorTargets",
    "EarlierLayer",
    "InputIds",
    "MaskTokenDecoder",
    "MaskedCrossEntropy",
    "PatchPixels",
    "QuantizedTarget",
    "QuantizedTargets",
    "TiedHead",
]
