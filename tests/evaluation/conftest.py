import pytest
import toy_method


@pytest.fixture(autouse=True, scope="module")
def toy():
    """Registers the toy method while a module's tests run."""
    forget = toy_method.register()
    yield
    forget()
