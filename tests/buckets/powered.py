"""A bucket in memory whose requests can be counted, cut off and interrupted."""

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class PoweredFileSystem(MemoryFileSystem):
    """Files in memory, of a machine that goes dark after so many reads and writes."""

    protocol = 'powered'
    store = {}  # noqa: RUF012  # as in the class above
    pseudo_dirs = ['']  # noqa: RUF012
    left = 10**9
    then = None  # is called instead of going dark

    def _count(self):
        own = type(self)
        if own.left <= 0:
            if own.then is None:
                raise OSError('no power')
            then, own.then, own.left = own.then, None, 10**9
            then()
        own.left -= 1

    def put_file(self, *arguments, **options):
        self._count()
        super().put_file(*arguments, **options)

    def pipe_file(self, *arguments, **options):
        self._count()
        super().pipe_file(*arguments, **options)

    def rm_file(self, *arguments, **options):
        self._count()
        super().rm_file(*arguments, **options)

    def cat_file(self, *arguments, **options):
        self._count()
        return super().cat_file(*arguments, **options)

    def ls(self, *arguments, **options):
        self._count()
        return super().ls(*arguments, **options)


fsspec.register_implementation('powered', PoweredFileSystem)
