from ._assets import SHARED_ASSETS as SHARED_ASSETS
from ._assets import page_document as page_document
from ._assets import read_asset as read_asset
from ._server import CONTENT_SECURITY_POLICY as CONTENT_SECURITY_POLICY
from ._server import MAX_BODY_BYTES as MAX_BODY_BYTES
from ._server import LoopbackServer as LoopbackServer
from ._server import PageRequest as PageRequest
from ._server import PageResponse as PageResponse
