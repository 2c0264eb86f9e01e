"""Question tables: a file of questions, answers and pictures, read as a task.

May use `imaging`, `plugins` and, of this room's surroundings, tasks, their capabilities and grading.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
