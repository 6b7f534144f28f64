"""The notebook runs from top to bottom, and is committed with its output."""

import nbclient
import nbformat
import pytest
from repository import ROOT


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / 'MNIST_Image_Classification.ipynb', as_version=4)


@pytest.mark.slow
def test_the_notebook_runs(notebook):
    replaced = 0
    for cell in notebook.cells:
        replaced += cell.source.count('config.num_epochs = 3')
        cell.source = cell.source.replace(
            'config.num_epochs = 3',
            "config.num_epochs = 1; config.dataset.train_split = 'train[:500]'",
        )
    assert replaced == 1
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={'metadata': {'path': ROOT}}
    )
    client.execute()
    assert images_in(notebook) == 3


def test_the_notebook_is_committed_with_its_output(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert images_in(notebook) == 3
    texts = [output.get('text', '') for cell in code for output in cell.outputs]
    assert any('225,034' in text for text in texts)
    assert any('test accuracy 9' in text for text in texts)


def images_in(notebook) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    return sum('image/png' in output.get('data', {}) for output in outputs)
