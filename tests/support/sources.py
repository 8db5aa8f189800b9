"""Python files as trees, each parsed once, however many rules of the house look at it."""

import ast
import functools


@functools.cache
def parse(source: str) -> ast.Module:
    return ast.parse(source)


@functools.cache
def walk(source: str) -> tuple[ast.AST, ...]:
    """All nodes of the tree, as `ast.walk` gives them."""
    return tuple(ast.walk(parse(source)))
