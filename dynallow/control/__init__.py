"""The control API: HTTP over a unix socket, its server, its client, its schema.

Floor 4. Nothing is imported here: the client must load without the server's
libraries, so that `dynallow status` starts at once.
"""
