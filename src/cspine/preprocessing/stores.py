"""The stores of a cache: volumes, label maps and columns, each with the settings that its content depends on."""

from pathlib import Path

from cspine.execution.store import StudyStore
from cspine.settings import layout
from cspine.settings.layout import CacheLayout
from cspine.settings.presets import Preset


def open_volumes(cache: Path, preset: Preset) -> StudyStore:
    """Open CACHE/volumes: every scan at the locator's spacing (`make prepare`).

    Parameters
    ----------
    cache : Path
        The cache folder.
    preset : Preset
        The settings, of which the content depends on a part.

    Returns
    -------
    StudyStore
        The store; its folder is created with the first write.

    Raises
    ------
    InputError
        If the folder was made with other settings or by another version of the format, or if it does not say
        with which.
    """
    return StudyStore(CacheLayout(cache).volumes, layout.volume_settings(preset))


def open_labels(cache: Path, preset: Preset) -> StudyStore:
    """Open CACHE/labels: a label map for every scan, by a locator that never saw it (`make locate`).

    Parameters
    ----------
    cache : Path
        The cache folder.
    preset : Preset
        The settings, of which the content depends on a part.

    Returns
    -------
    StudyStore
        The store; its folder is created with the first write.

    Raises
    ------
    InputError
        If the folder was made with other settings or by another version of the format, or if it does not say
        with which.
    """
    return StudyStore(CacheLayout(cache).labels, layout.label_settings(preset))


def open_columns(cache: Path, preset: Preset) -> StudyStore:
    """Open CACHE/columns: the cervical column of every scan (`make columns`).

    Parameters
    ----------
    cache : Path
        The cache folder.
    preset : Preset
        The settings, of which the content depends on a part.

    Returns
    -------
    StudyStore
        The store; its folder is created with the first write.

    Raises
    ------
    InputError
        If the folder was made with other settings or by another version of the format, or if it does not say
        with which.
    """
    return StudyStore(CacheLayout(cache).columns, layout.column_settings(preset))
