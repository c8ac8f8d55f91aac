"""The configuration: flags, rules, stages, recipes, command line. No TensorFlow here."""

from tf_simclr.config.config import Config, Field, build, coerce, completed, fields, is_same
from tf_simclr.errors import UserError

__all__ = ["Config", "Field", "UserError", "build", "coerce", "completed", "fields", "is_same"]
