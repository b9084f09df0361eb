"""Errors and warnings of mmevent. Each error is also a built-in type."""

from __future__ import annotations

__all__ = [
    "DeviceMemoryError",
    "InputError",
    "MissingPackageError",
    "MmeventError",
    "MmeventWarning",
    "ModelFolderError",
    "ModelUnavailableError",
    "PolicyError",
    "StorageError",
    "UnusableInputWarning",
]


class MmeventError(Exception):
    """Base of every error that mmevent raises on purpose."""


class InputError(MmeventError, ValueError):
    """Posts, labels, groups or a parameter are not what was expected."""


class PolicyError(InputError):
    """Labelled posts do not show that a decision policy can be met."""


class ModelUnavailableError(MmeventError, OSError):
    """A pretrained model cannot be found, reached, or is not the one expected."""


class ModelFolderError(MmeventError, ValueError):
    """A saved detector cannot be written, or cannot be read back safely."""


class MissingPackageError(MmeventError, ImportError):
    """A package that only some functions need is not installed."""


class DeviceMemoryError(MmeventError, MemoryError):
    """The device's memory is too small for a single item."""


class StorageError(MmeventError, OSError):
    """A file that the work needs cannot be written."""


class MmeventWarning(UserWarning):
    """Base of every warning that mmevent issues."""


class UnusableInputWarning(MmeventWarning):
    """Some images, texts or rows could not be used; the message has the count."""
