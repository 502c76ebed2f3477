"""The HTTP edge: protocols in, protocols out.

This room knows ASGI, paths, headers, cookies and how each client wants to be told of an error. Handlers are thin: what
is done with a request is decided in the rooms below.
"""
