"""The report as one HTML file: no network, no script, no font of somebody's; what a change board is shown.

Pure: reports of the control API go in, text comes out. Must not know where they came from.
"""
