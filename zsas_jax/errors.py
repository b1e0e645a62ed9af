"""Errors whose message is one sentence for the user: what was found, where, what is expected."""


class ZsasError(Exception):
    """Base of all errors caused by bad input; the scripts print it and exit with code 2."""


class ImageError(ZsasError, ValueError):
    """An image file or array that cannot be read as a photo."""


class DatasetError(ZsasError, ValueError):
    """A data directory, mask directory or category that is missing or malformed."""


class ConfigError(ZsasError, ValueError):
    """An unknown name or an out-of-range value in a configuration."""


class CheckpointError(ZsasError, ValueError):
    """A checkpoint directory that is missing, incomplete or damaged."""


class WeightConversionError(ZsasError, ValueError):
    """Weights that do not match the target network exactly."""
