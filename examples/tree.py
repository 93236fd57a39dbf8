"""Files and directories, as etcd had them before its version 3."""

from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import react

from txetcd import Client, Tree


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)
    tree = Tree(etcd, root=b"example/tree")

    node = yield tree.set(b"/config/colour", b"blue")
    print(node)
    changes = tree.follow(b"/config", index=node.revision + 1)
    yield tree.set(b"/config/size", b"large", ttl=60)
    changed = yield changes.next()
    print(changed.action, changed.key, changed.value)
    changes.stop()

    for child in (yield tree.children(b"/config")):
        print(child.key, child.value, "has a ttl" if child.ttl else "stays")

    try:
        yield tree.get(b"/config/shape")
    except KeyError as error:
        print("KeyError:", error)
    try:
        yield tree.test_and_set(b"/config/colour", b"red", b"green")
    except ValueError as error:
        print("ValueError:", error, "- it is", error.current.value)
    yield tree.atomic_update(b"/config/colour", lambda colour: b"dark " + colour)

    # names that come in the order in which they are given
    for item in (b"first", b"second"):
        yield tree.add(b"/queue", item)
    print([child.value for child in (yield tree.get(b"/queue"))])

    yield tree.delete(b"/", recursive=True)
    yield etcd.close()


if __name__ == "__main__":
    react(main)
