"""A server that takes requests and answers none: python mute.py PORT"""
import socket
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
taken = []
while True:
    taken.append(listener.accept()[0])
