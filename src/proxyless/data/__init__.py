"""Images for classification: sources, splits, preprocessing, augmentation, loaders."""

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import ImageData, SplitName, is_by_content
from proxyless.data.folder_source import folder_loader
from proxyless.data.loaders import Loader, Sample, Split, pool_of
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.published import PUBLISHED
from proxyless.data.sources import load
from proxyless.data.workers import Batch

__all__ = [
    "PUBLISHED",
    "Augmentation",
    "Batch",
    "ImageData",
    "Loader",
    "Preprocessing",
    "Sample",
    "Split",
    "SplitName",
    "folder_loader",
    "is_by_content",
    "load",
    "pool_of",
]
