"""What the tests of lm-evaluation-harness share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mdm_sampling.cli import main


def go_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets are cached in the test's folder, and nobody asks the machine for its drivers."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "")
    monkeypatch.chdir(tmp_path)


def write_task(
    folder: Path, name: str, lines: Sequence[dict[str, Any]], file: str | None = None, **config: Any
) -> None:
    """A task of the harness: a YAML file (JSON is YAML) and its data. A value "!function a.b" is a function."""
    folder.mkdir(exist_ok=True)
    data = folder / f"{file or name}.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{puzzle}}",
        "doc_to_target": "{{solution}}",
    }
    text = json.dumps(task | config, indent=1)
    unquoted = [
        line.replace('"!', "!").replace('",', ",").rstrip('"') if '"!' in line else line for line in text.split("\n")
    ]
    (folder / f"{file or name}.yaml").write_text("\n".join(unquoted))


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def written(out: Path, name: str) -> Any:
    """The one file of a run whose name begins so: an object, or a list of the objects in its lines."""
    (file,) = out.glob(f"*/{name}_*")
    text = file.read_text()
    return [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
