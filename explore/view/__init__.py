"""The interactive viewer: clips of a finished data set in a browser, in space and time."""

from explore.view.viewer import Viewer, serve

__all__ = ["Viewer", "serve"]
