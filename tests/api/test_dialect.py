"""What a service advertises, and what is assumed of one that advertises nothing."""

from containerfs.api.dialect import FEATURES, FEATURES_HEADER, Dialect


def test_a_service_that_advertises_nothing_is_met_with_caution() -> None:
    dialect = Dialect.of({"server": "nginx"})
    assert dialect == Dialect(False, False, tells_sizes=None)


def test_each_feature_is_known_by_its_word() -> None:
    words = FEATURES.split(", ")
    dialects = [Dialect.of({FEATURES_HEADER: word}) for word in words]
    assert dialects == [
        Dialect(idempotency=True),
        Dialect(),
        Dialect(copies_by_path=True),
        Dialect(),
        Dialect(tells_sizes=True),
        Dialect(etags=True),
        Dialect(attributes=True),
        Dialect(directories=True),
        Dialect(renames=True),
        Dialect(whole_uploads=True),
    ]


def test_words_of_later_servers_are_passed_over() -> None:
    assert Dialect.of({FEATURES_HEADER: "teleports,copies-by-path , "}) == Dialect(copies_by_path=True)
