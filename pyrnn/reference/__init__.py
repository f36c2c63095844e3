"""The oracle: recurrent networks written from their equations in plain torch, for any floating dtype."""

from pyrnn.reference.recurrent import RecurrentOutput, group_weights, recurrent

__all__ = ["RecurrentOutput", "group_weights", "recurrent"]
