"""Configuration: the typed schema of a YAML file, and the merging of files, defaults and overrides."""

from dygait.config.load import load_config, save_config
from dygait.config.schema import Config
