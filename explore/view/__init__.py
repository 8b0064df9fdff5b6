"""Interactive 3D viewer of the clips of a finished data set, in a browser."""

from explore.view.viewer import Viewer, serve

__all__ = ["Viewer", "serve"]
