"""A comparison, a ticket and a training that the tests of the interface share."""

from pathlib import Path

import pytest
from own_case import RECIPE, build_net, own_images

import robust_tickets
from robust_tickets.data.dataset import Dataset
from robust_tickets.tickets.ticket import Ticket


@pytest.fixture(scope="module")
def images() -> Dataset:
    return own_images()


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return robust_tickets.compare(build_net, images, RECIPE, runs=runs)


@pytest.fixture(scope="module")
def ticket(images) -> Ticket:
    return robust_tickets.find_ticket(build_net, images, RECIPE)


@pytest.fixture(scope="module")
def trained(images, ticket) -> robust_tickets.Trained:
    return robust_tickets.train(build_net, images, ticket, RECIPE)
