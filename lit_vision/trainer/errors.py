from collections.abc import Iterator
from contextlib import contextmanager

from lit_vision.errors import UserError


@contextmanager
def explain_compile_errors() -> Iterator[None]:
    """Turn what torch.compile raises, at the first batch, into an error that says what to do.

    Raises:
        UserError: the network cannot be compiled here; most often there is no C++ compiler.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"the network cannot be compiled here ({reason}): leave --model.compile out, or install what is missing, "
            "such as a C++ compiler"
        ) from error
