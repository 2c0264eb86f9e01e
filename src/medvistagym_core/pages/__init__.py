"""Pages on loopback: the server that guards them, and the style and script that all of them share.

May use nothing of the core but `tools` and below.

Whatever a policy, a tool or a file wrote is untrusted on a page. It travels as JSON and becomes text nodes and nothing else; a
content security policy forbids every script but the page's own and every connection but to where it came from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
