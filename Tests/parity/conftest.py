"""Fixtures of test_transformers_*.py."""

import pytest
from transformer_models import FAMILIES, build


@pytest.fixture(params=FAMILIES)
def model(request):
    return build(request.param)


@pytest.fixture
def llama():
    return build("llama")
