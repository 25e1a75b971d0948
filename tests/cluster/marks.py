"""What marks every test file here: that it needs Ray, and whose warnings are not ours."""

import pytest

CLUSTER = [
    pytest.mark.cluster,
    # Ray reads deprecated settings of its own, and leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
