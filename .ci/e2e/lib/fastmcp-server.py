"""A FastMCP server with a tool of each kind, a resource and a prompt."""

from fastmcp import FastMCP

server = FastMCP("py", instructions="Adds.")


@server.tool(annotations={"readOnlyHint": True})
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool
def boom() -> str:
    """Fails."""
    raise ValueError("boom")


@server.resource("data://one")
def one() -> str:
    return "one"


@server.resource("data://{name}/text")
def text(name: str) -> str:
    return name


@server.prompt
def ask(topic: str) -> str:
    """Asks."""
    return f"What is {topic}?"


server.run(show_banner=False)
