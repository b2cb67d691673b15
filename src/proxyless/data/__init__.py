"""Images for classification: sources, splits, preprocessing, augmentation, loaders."""

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import SPLITS, ImageData, SplitName, is_by_content
from proxyless.data.folder_source import folder_loader, split_loader
from proxyless.data.loaders import Loader, Sample, Split, pool_of
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.published import PUBLISHED
from proxyless.data.sources import folder, load
from proxyless.data.workers import Batch

__all__ = [
    "PUBLISHED",
    "SPLITS",
    "Augmentation",
    "Batch",
    "ImageData",
    "Loader",
    "Preprocessing",
    "Sample",
    "Split",
    "SplitName",
    "folder",
    "folder_loader",
    "is_by_content",
    "load",
    "pool_of",
    "split_loader",
]
