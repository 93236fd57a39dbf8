"""Tests of txetcd against real etcd servers."""
