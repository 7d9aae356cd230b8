"""JSON of the wrong shape, at every place of a tree."""

import copy

DEEP = "[" * 3000
VALUES = (None, 1, "x", [], {}, True, [1], {"a": 1})


def mutants(tree):
    """Copies of a tree of JSON with each value replaced by others, or removed."""
    places = [((), tree)]
    while places:
        path, node = places.pop()
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        places += [((*path, key), child) for key, child in children]
        yield from (_replaced(tree, path, value) for value in VALUES)
        if path and isinstance(path[-1], str):
            yield _replaced(tree, path, None, remove=True)


def _replaced(tree, path, value, *, remove=False):
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    if not path:
        return value
    if remove:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return tree
