"""The process of a mount: started by a command, which passes the settings, and running until the mount ends.

There may be many of them on a machine, so it imports nothing that only commands need.
"""
