"""Functional operators."""

from pyrnn.ops.recurrent import Route, recurrent, route
from pyrnn.reference import RecurrentOutput

__all__ = ["RecurrentOutput", "Route", "recurrent", "route"]
