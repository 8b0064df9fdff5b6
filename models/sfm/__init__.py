"""Structure from motion: camera poses, intrinsics and sparse points of a clip."""
