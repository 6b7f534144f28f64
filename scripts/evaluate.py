"""Measures the networks of a finished run, and writes a report with figures.

Accuracy with its interval, losses, calibration before and after temperature scaling, scores
of each class, the mistakes made with most confidence, the images that all of several
networks get wrong, and the accuracy on images that are made worse in seven ways.

  python scripts/evaluate.py --workdir=outputs
  python scripts/evaluate.py --workdir=outputs --ood_dataset=fashion_mnist

The report is report.md in --report_dir, with its figures and evaluation.json.
"""

import pathlib
import sys

from absl import flags

from mnist_flax.common import cli

cli.define_network()
_DATASET = flags.DEFINE_string(
    'dataset',
    '',
    'TFDS data set to measure on; that of the run if empty.',
)
_SPLIT = flags.DEFINE_string(
    'split',
    '',
    "Its split, in TFDS's syntax; if empty, that on which the run was tested, or 'test'.",
)
_DATA_DIR = flags.DEFINE_string(
    'data_dir', '', "TFDS directory that holds it; if empty, that of the run, or TFDS's."
)
_OOD_DATASET = flags.DEFINE_string(
    'ood_dataset',
    '',
    'TFDS data set with none of the classes: is the network less sure of its images?',
)
_OOD_SPLIT = flags.DEFINE_string('ood_split', 'test', 'Its split.')
_OOD_DATA_DIR = flags.DEFINE_string(
    'ood_data_dir', '', "TFDS directory that holds it; if empty, TFDS's."
)
_CORRUPTIONS = flags.DEFINE_bool(
    'corruptions', True, 'Evaluate on corrupted images too: 7 kinds, 5 severities of each.'
)
_REPORT_DIR = flags.DEFINE_string(
    'report_dir',
    '',
    'Folder for the report; if empty, evaluation in --workdir, or outputs/evaluation for '
    'the networks of the package.',
)


def main() -> None:
    """Runs `evaluate` with the flags and writes its report."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.checkpointing import workdirs
    from mnist_flax.evaluation import evaluation, report
    from mnist_flax.recognition.networks import PRETRAINED, load_networks

    networks = load_networks(flags.FLAGS.workdir, flags.FLAGS.constructor)
    # Before the evaluation, which takes half a minute; and not into the installed package.
    is_ours = pathlib.Path(networks.workdir).resolve().parent == PRETRAINED.parent.resolve()
    workdir = 'outputs' if is_ours else networks.workdir
    report_dir = _REPORT_DIR.value or f'{workdir}/evaluation'
    with workdirs.open_folder(report_dir, '--report_dir') as folder:
        evaluated = evaluation.evaluate(
            networks,
            _DATASET.value,
            _DATA_DIR.value,
            _SPLIT.value,
            _OOD_DATASET.value,
            _OOD_DATA_DIR.value,
            _OOD_SPLIT.value,
            _CORRUPTIONS.value,
        )
        name = flags.FLAGS.workdir or 'The networks of the package'
        files = report.write(folder, evaluated, name)
        shown = workdirs.show(folder)
    numbers = evaluated.numbers
    low, high = numbers['accuracy_95_percent_interval']
    print(
        f'{numbers["dataset"]}, {numbers["split"]!r}, {numbers["images"]:,} images: '
        f'accuracy {numbers["accuracy"]:.2%} (95 % interval {low:.2%} to {high:.2%}), loss '
        f'{numbers["loss"]:.4f}, calibration error {numbers["calibration_error"]:.2%}'
    )
    if better := evaluation.describe_other_ways(numbers):
        print(f'warning: the network knows them otherwise: {better}', file=sys.stderr)
    print(f'written to {shown}: {", ".join(files)}')


if __name__ == '__main__':
    cli.run(main)
