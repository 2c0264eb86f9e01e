"""A page to try tools on images, served on loopback: open, draw, call, compare, and let a policy answer.

May use `rollouts` and below. What the page calls goes the way of a policy's call, through an episode and an executor, so that
it is validated alike, answered by the same sentences, and can be kept as a trajectory.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
