"""Segmenters: from a picture to the people in it. Those that the files of this folder register are known by name."""

from importlib import import_module
from pkgutil import iter_modules

from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
