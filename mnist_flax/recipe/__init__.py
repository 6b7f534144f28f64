"""The parts of training that a config names: loss, optimizer, schedule, step metrics."""
