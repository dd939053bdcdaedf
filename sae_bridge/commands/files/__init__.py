"""Commands on files of SAEs: other formats, packed files, repositories."""
