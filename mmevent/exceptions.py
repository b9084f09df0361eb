"""Errors and warnings of mmevent. Each error is also a built-in type.

There are two kinds of errors. What was given cannot be used: change it. Or, a
`RunError`, the work failed on the way, on the machine or the network: what was given
may be right. The commands end with exit code 2 for the first, and 1 for the second.
"""

from __future__ import annotations

__all__ = [
    "DeviceMemoryError",
    "InputError",
    "MissingPackageError",
    "MmeventError",
    "MmeventWarning",
    "ModelFolderError",
    "ModelNameError",
    "ModelUnavailableError",
    "PolicyError",
    "RunError",
    "StorageError",
    "UnusableInputWarning",
]


_LONGEST, _END = 2000, 500  # letters of a message, and of its end


class MmeventError(Exception):
    """Base of every error that mmevent raises on purpose.

    A message can show values of the caller's, such as the bytes of a picture: a long
    one is cut in its middle, since its end says what to do.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= _LONGEST:
            return text
        return f"{text[: _LONGEST - _END]} […] {text[-_END:]}"


class InputError(MmeventError, ValueError):
    """Posts, labels, groups or a parameter are not what was expected."""


class PolicyError(InputError):
    """Labelled posts do not show that a decision policy can be met."""


class ModelFolderError(MmeventError, ValueError):
    """A saved detector cannot be written, or cannot be read back safely."""


class MissingPackageError(MmeventError, ImportError):
    """A package that only some functions need is not installed."""


class RunError(MmeventError):
    """Base of errors of the machine or the network, not of what was given."""


class ModelUnavailableError(RunError, OSError):
    """A pretrained model cannot be found, reached, or is not the one expected."""


class ModelNameError(ModelUnavailableError, InputError):
    """What names a pretrained model is neither a folder nor a possible name."""


class DeviceMemoryError(RunError, MemoryError):
    """The device's memory is too small for a single item."""


class StorageError(RunError, OSError):
    """A file or a folder cannot be written, such as on a full disk."""


class MmeventWarning(UserWarning):
    """Base of every warning that mmevent issues."""


class UnusableInputWarning(MmeventWarning):
    """Some images, texts or rows could not be used; the message has the count."""
