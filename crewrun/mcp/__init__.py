"""Servers of the Model Context Protocol: their sessions, and their tools for agents. https://modelcontextprotocol.io

server        `McpServer`: how a server is reached, as users write it
tools         `McpTool`: one of its tools, a `BaseTool` like any other; lists them
servers       the servers that this process has open: lists their tools, calls them, closes them
lifetime      how long servers stay open
connection    the sessions of one server: opened when first needed, again after they broke
stderr        what a server writes to its standard error
keeper        the program that ends a server's processes when crewrun is gone
mcp_loop      the thread and the event loop in which all sessions live
sdk           the official SDK, which is imported there only
"""
