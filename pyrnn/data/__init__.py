"""Texts that come with the package; SOURCES.md beside them names each one's origin and licence."""

from pyrnn.data.corpora import shakespeare, shakespeare_path

__all__ = ["shakespeare", "shakespeare_path"]
