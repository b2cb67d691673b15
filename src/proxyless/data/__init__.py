"""Images for classification: sources, splits, preprocessing, augmentation, loaders."""

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import ImageData, SplitName, is_by_content
from proxyless.data.folder_source import folder_loader
from proxyless.data.loaders import Batch, Sample, Split
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.published import PUBLISHED
from proxyless.data.sources import load

__all__ = [
    "PUBLISHED",
    "Augmentation",
    "Batch",
    "ImageData",
    "Preprocessing",
    "Sample",
    "Split",
    "SplitName",
    "folder_loader",
    "is_by_content",
    "load",
]
