"""What holds for all tests."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine",
    deadline=None,  # a machine under load is slow, and what hangs is ended by pytest's limit
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,  # one server serves all examples of a test
    ],
)
settings.load_profile("any machine")
