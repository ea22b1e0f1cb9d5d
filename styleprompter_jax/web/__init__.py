"""The studio: a page, and the HTTP interface that it uses.

Begin with `server.py`. `api.py` lists the requests, and `studio.py` does their work.
"""
