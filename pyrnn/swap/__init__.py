"""Layers of torch inside a model turned into ours, and back: `pyrnn.accelerate`, `pyrnn.restore`."""
