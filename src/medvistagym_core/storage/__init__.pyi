from ._atomic import remove_stale_parts as remove_stale_parts
from ._atomic import write_atomically as write_atomically
from ._atomic import write_folder_atomically as write_folder_atomically
