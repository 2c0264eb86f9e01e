from ._open import SeveralImagesError as SeveralImagesError
from ._open import list_images as list_images
from ._open import open as open  # noqa: A004
from ._open import open_all as open_all
from ._tool_functions import ToolFunction as ToolFunction
from ._tool_functions import ToolFunctions as ToolFunctions
from ._tool_functions import toolbox as toolbox
