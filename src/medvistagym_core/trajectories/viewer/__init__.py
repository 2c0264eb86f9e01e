"""A page to look at episodes, served on loopback or written as one file.

May use `trajectories` and below.

Everything in a trajectory that a policy or a tool wrote is untrusted. It travels as JSON and becomes text nodes and nothing
else; a content security policy forbids every script but the page's own and every connection but to where it came from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
