import shutil
import zipfile

import pytest
from helpers import REPOSITORY

pytestmark = pytest.mark.slow


def test_a_built_wheel_has_the_configs(process, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(
        REPOSITORY, source, ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", "lightning_logs", "build")
    )
    code = (
        "import os, setuptools.build_meta as backend; os.chdir('source'); "
        "os.makedirs('../wheel'); backend.build_wheel('../wheel')"
    )
    assert process("-c", code).code == 0
    names = zipfile.ZipFile(next((tmp_path / "wheel").glob("*.whl"))).namelist()
    for config in (REPOSITORY / "lit_vision" / "configs").glob("*.yaml"):
        assert f"lit_vision/configs/{config.name}" in names


def test_a_broken_torchvision_is_one_line(process, tmp_path):
    (tmp_path / "torchvision").mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "torchvision" / "__init__.py").write_text(broken)
    result = process("-m", "lit_vision", "fit", PYTHONPATH=str(tmp_path))
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    for words in ("torch ", "torchvision ", "are not compatible", "pip install"):
        assert words in result.err
