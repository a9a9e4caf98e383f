"""Folders, a real store and intake at work."""

from __future__ import annotations

from support.intaking import clock, folder_settings, ids, make, root, store

__all__ = ["clock", "folder_settings", "ids", "make", "root", "store"]
