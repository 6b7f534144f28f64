"""What is read from a compiled program's text."""

from mnist_flax.aot import operations

# Shortened from a program for an H100: a call, a kernel in two halves, a loop in the loop.
HLO = """HloModule jit_train_steps
%fused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %add.1 = f32[8]{0} add(%p, %p)
}
%inner_body (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %fusion.9 = f32[8]{0} fusion(%p), kind=kLoop, calls=%fused
}
%called (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %fusion.1 = f32[8]{0} fusion(%p), kind=kLoop, calls=%fused
  ROOT %fusion.2 = f32[8]{0} fusion(%fusion.1), kind=kLoop, calls=%fused
}
%body (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %bitcast = f32[8]{0} bitcast(%p)
  %call = f32[8]{0} call(%bitcast), to_apply=%called
  %copy-start = (f32[8]{0}, f32[8]{0}) copy-start(%call)
  %copy-done = f32[8]{0} copy-done(%copy-start)
  %conv = (f32[8]{0}, u8[0]{0}) custom-call(%copy-done), feature_group_count=64, calls=%x
  %other = (f32[8]{0}, u8[0]{0}) custom-call(%copy-done), feature_group_count=1
  ROOT %while.2 = f32[8]{0} while(%other), condition=%inner_condition, body=%inner_body
}
ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %while.1 = f32[8]{0} while(%p), condition=%condition, body=%body
}
"""


def test_operations_of_the_longest_loop_are_counted():
    assert operations.count_operations(HLO) == {
        'fusion': 2, 'copy-start': 1, 'custom-call': 2, 'while': 1,
    }  # fmt: skip


def test_a_long_loop_within_the_loop_is_not_taken_for_it():
    kernel = '  %fusion.9 = f32[8]{0} fusion(%p), kind=kLoop, calls=%fused\n'
    assert operations.count_operations(HLO.replace(kernel, 9 * kernel)) == {
        'fusion': 2, 'copy-start': 1, 'custom-call': 2, 'while': 1,
    }  # fmt: skip


def test_a_program_without_a_loop_has_none():
    assert not operations.count_operations(HLO.replace('body=', 'other='))


def test_convolutions_of_groups_are_counted():
    assert operations.count_groups(HLO) == {64: 1}
