"""One bundled model for all tests of the service; an empty journal for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ketools.atlas import weights_path
from ketools.core.principals import OPERATOR
from ketools.models.editable import EditableModel
from ketools.models.loading import load_editable
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox


@pytest.fixture(scope="session")
def atlas() -> EditableModel:
    """The bundled model."""
    return load_editable(weights_path())


@pytest.fixture
def service(atlas: EditableModel, tmp_path: Path) -> Iterator[EditService]:
    """A service with an empty journal."""
    opened = open_service(Settings(home=tmp_path), atlas)
    yield opened
    opened.close()


@pytest.fixture
def box(service: EditService) -> Toolbox:
    """The operator's tools."""
    return Toolbox(service, OPERATOR)


@pytest.fixture
def atlas_strict(atlas: EditableModel, tmp_path: Path) -> Iterator[Toolbox]:
    """Tools under a policy that wants every phrasing right."""
    opened = open_service(Settings(home=tmp_path, min_success=1.0), atlas)
    yield Toolbox(opened, OPERATOR)
    opened.close()
