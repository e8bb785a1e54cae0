"""Segmenters, which find the people in a picture; the modules of this folder register them by name."""

from importlib import import_module
from pkgutil import iter_modules

from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
