"""A study: one recipe trained with several seeds and variations, its table and its figures (`make science`).

May use every other room; `python -m medvistagym_trl.science` is its command.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
