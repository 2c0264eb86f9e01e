from .environment import Answer as Answer
from .environment import Case as Case
from .environment import Episode as Episode
from .environment import EpisodeConfig as EpisodeConfig
from .environment import Limits as Limits
from .environment import MedVistaEnv as MedVistaEnv
from .environment import MedVistaVectorEnv as MedVistaVectorEnv
from .environment import PerceptionItem as PerceptionItem
from .environment import Reward as Reward
from .execution import ImageStore as ImageStore
from .execution import LocalExecutor as LocalExecutor
from .execution import ProcessExecutor as ProcessExecutor
from .imaging import Box as Box
from .imaging import Image as Image
from .imaging import LookupTable as LookupTable
from .imaging import Window as Window
from .interactive import ToolFunctions as ToolFunctions
from .interactive import open as open  # noqa: A004
from .interactive import open_all as open_all
from .interactive import toolbox as toolbox
from .plugins import Registry as Registry
from .plugins import hookimpl as hookimpl
from .protocol import TextProtocol as TextProtocol
from .tools import Tool as Tool
from .tools import Toolbox as Toolbox
from .tools import ToolboxLock as ToolboxLock
from .tools import ToolCall as ToolCall
from .tools import ToolDefinitionError as ToolDefinitionError
from .tools import ToolError as ToolError
from .tools import ToolResult as ToolResult
from .tools import ToolSpec as ToolSpec
from .tools import tool as tool
from .trajectories import TrajectoryReader as TrajectoryReader

__version__: str
tools = toolbox
