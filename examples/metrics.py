"""Exports what a client does to Prometheus (needs the package ``prometheus_client``)."""

import treq
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import REGISTRY
from prometheus_client.twisted import MetricsResource
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import react
from twisted.web.server import Site

from txetcd import Client, LeaseNotFound

SECONDS = Histogram("etcd_client_call_seconds", "How long calls take, retries included", ["call", "outcome"])
RETRIES = Counter("etcd_client_retries", "Attempts after the first", ["call", "endpoint"])


def on_call(record):
    SECONDS.labels(record.call, record.outcome).observe(record.seconds)
    RETRIES.labels(record.call, record.endpoint).inc(record.retries)


class Now:
    """What is looked up when Prometheus asks."""

    def __init__(self, etcd):
        self._etcd = etcd

    def collect(self):
        stats = self._etcd.stats()
        yield GaugeMetricFamily("etcd_client_connections", "Open connections", stats.connections)
        yield GaugeMetricFamily("etcd_client_calls_in_flight", "Calls without an answer", stats.in_flight)
        healthy = GaugeMetricFamily("etcd_client_endpoint_healthy", "It answered last time", labels=["endpoint"])
        for url, is_healthy in stats.endpoints.items():
            healthy.add_metric([url], is_healthy)
        yield healthy


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor, on_call=on_call)
    REGISTRY.register(Now(etcd))
    # without an interface and with a port of your choice, for a Prometheus elsewhere
    port = reactor.listenTCP(0, Site(MetricsResource()), interface="127.0.0.1")

    yield etcd.set(b"example/metrics", b"1")
    try:
        yield etcd.set(b"example/metrics", b"2", lease=4711)
    except LeaseNotFound:
        yield etcd.delete(b"example/metrics")

    response = yield treq.get(f"http://127.0.0.1:{port.getHost().port}/metrics", persistent=False)
    text = yield response.text()
    print("\n".join(line for line in text.splitlines() if line.startswith("etcd_client")))
    yield port.stopListening()
    yield etcd.close()


if __name__ == "__main__":
    react(main)
