"""Images and their labels: sources, splits, preprocessing, augmentation, loaders."""

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import SPLITS, ImageData, SplitName, is_by_content
from proxyless.data.folder_source import folder_loader, split_loader
from proxyless.data.labelling import Labelling
from proxyless.data.loaders import Loader, Sample, Split, pool_of
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.published import PUBLISHED
from proxyless.data.sources import folder, load, place
from proxyless.data.workers import Batch

__all__ = [
    "PUBLISHED",
    "SPLITS",
    "Augmentation",
    "Batch",
    "ImageData",
    "Labelling",
    "Loader",
    "Preprocessing",
    "Sample",
    "Split",
    "SplitName",
    "folder",
    "folder_loader",
    "is_by_content",
    "load",
    "place",
    "pool_of",
    "split_loader",
]
