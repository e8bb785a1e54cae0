"""Configuration: the typed schema of a YAML file, and how files, defaults and overrides become one."""

from dygait.config.load import load_config, save_config
from dygait.config.schema import Config
