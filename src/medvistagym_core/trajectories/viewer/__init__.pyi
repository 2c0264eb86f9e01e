from ._export import EpisodeFilter as EpisodeFilter
from ._export import export as export
from ._export import missing_name as missing_name
from ._export import parse_episode_filter as parse_episode_filter
from ._index import EpisodeIndex as EpisodeIndex
from ._server import ViewerServer as ViewerServer
