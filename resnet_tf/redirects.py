"""Redirects of the web: where a server may lead a program that asks it for a file."""

import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

SCHEMES = ("http", "https")


class WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only within http and https, and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in SCHEMES or (scheme == "http" and urlsplit(req.full_url).scheme == "https"):
            raise urllib.error.URLError(f"it leads to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
