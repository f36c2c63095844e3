"""Texts that come with the package; SOURCES.md beside them names each one's origin and licence."""

from pyrnn.corpora.corpora import SHAKESPEARE, shakespeare, shakespeare_path, text_path, text_paths

__all__ = ["SHAKESPEARE", "shakespeare", "shakespeare_path", "text_path", "text_paths"]
