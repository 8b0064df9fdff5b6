"""Camera tracking with a learned flow update and dense bundle adjustment, after MegaSaM; needs the [models] extra.

Many clips are tracked at once. A frame has one number in the whole batch; keyframes, edges and
windows are lists of frame numbers, so that nothing on the device is moved when a keyframe comes or goes.
"""
