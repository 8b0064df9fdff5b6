"""Visual SLAM with a learned update operator and dense bundle adjustment (MegaSaM).

Needs the [models] extra.

Many clips are tracked at once. A frame has one index in the whole batch; keyframes, edges and windows are lists of
frame indices, so that no tensor on the device moves when a keyframe is added or removed.
"""
