"""S3 roots as URLs and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import InvalidValueError
from renku_store.drivers.objects.options import S3Place, parse_s3

SECRET = "hunter2hunter2"
SERVER = "http://127.0.0.1:8333"


def place(url: str, environment: dict[str, str] | None = None, /, **options: Any) -> S3Place:
    """What a URL and options say, in an environment that says nothing else."""
    return parse_s3(url, options, environment or {})


def test_a_url_names_bucket_prefix_and_how_to_get_there() -> None:
    """Everything can stand in the URL."""
    found = place(
        "s3://bucket/videos/2026/?endpoint=http://127.0.0.1:8333&region=eu-west-1&path_style=false&verify=no&profile=me"
    )
    assert found == S3Place(
        bucket="bucket",
        prefix="videos/2026",
        endpoint=SERVER,
        region="eu-west-1",
        path_style=False,
        verify=False,
        profile="me",
    )


def test_options_say_the_same_and_go_before_the_url() -> None:
    """Whoever opens a root may reach it in another way than the URL says."""
    given_url = place(f"s3://bucket/a?endpoint={SERVER}&region=r&anonymous=true&ca=/etc/ca.pem")
    assert place("s3://bucket/a", endpoint=SERVER, region="r", anonymous=True, ca=Path("/etc/ca.pem")) == given_url
    assert place("s3://bucket?region=r", region="other").region == "other"


def test_the_environment_says_what_nobody_else_does() -> None:
    """By the names that the tools of AWS read, the special before the general."""
    environment = {
        "AWS_ENDPOINT_URL": "http://general:1",
        "AWS_ENDPOINT_URL_S3": "http://special:2",
        "AWS_DEFAULT_REGION": "default",
        "AWS_REGION": "region",
        "AWS_CA_BUNDLE": "/etc/bundle.pem",
    }
    found = place("s3://bucket", environment)
    assert (found.endpoint, found.region, found.ca) == ("http://special:2", "region", "/etc/bundle.pem")
    named = place(f"s3://bucket?endpoint={SERVER}&region=named", environment)
    assert (named.endpoint, named.region) == (SERVER, "named")
    assert place("s3://bucket", {"AWS_ENDPOINT_URL": "http://general:1"}).endpoint == "http://general:1"


@pytest.mark.parametrize(
    ("url", "path_style"),
    [
        ("s3://bucket", False),
        ("s3://bucket.with.dots", True),
        ("s3://Bucket_of_old", True),
        (f"s3://bucket?endpoint={SERVER}", True),
        (f"s3://bucket?endpoint={SERVER}&path_style=off", False),
    ],
)
def test_the_bucket_is_a_part_of_the_path_where_it_cannot_be_one_of_the_host(url: str, path_style: bool) -> None:
    """Servers of one's own rarely have a host name for each bucket, and certificates cover one level of dots."""
    assert place(url).path_style is path_style


def test_the_url_of_a_root_is_the_same_for_all_and_its_identity_tells_servers_apart() -> None:
    """Region, profile and TLS say nothing of which root it is."""
    at_home = place(f"s3+fsspec://bucket/videos/?endpoint={SERVER}/&region=x&verify=false")
    elsewhere = place("s3://bucket/videos", profile="me")
    assert at_home.url == elsewhere.url == "s3://bucket/videos"
    assert at_home.identity == f"s3://bucket/videos?endpoint={SERVER}"
    assert elsewhere.identity == "s3://bucket/videos"
    assert place("s3://bucket").url == place("s3://bucket/").url == "s3://bucket"


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("s3://", "names no bucket", "s3://bucket/videos"),
        ("s3:///videos", "names no bucket", "s3://bucket/videos"),
        ("s3://127.0.0.1:8333/bucket", "no name of a bucket", "endpoint="),
        ("s3://b", "no name of a bucket", ""),
        ("s3://bucket/a//b", "empty or dotted part", ""),
        ("s3://bucket/../other", "empty or dotted part", ""),
        ("s3://bucket/a\nb", "control character", ""),
        ("s3://bucket?regoin=x", "no option 'regoin'", "Did you mean region?"),
        ("s3://bucket?pathstyle=true", "no option 'pathstyle'", "Did you mean path_style?"),
        ("s3://bucket?zzz=1", "no option 'zzz'", "anonymous, ca, cache"),
        ("s3://bucket?path_style=maybe", "true or false, not 'maybe'", "path_style=true"),
        ("s3://bucket?verify=", "true or false, not ''", ""),
        ("s3://bucket?region=", "text that is not empty", ""),
        ("s3://bucket?region=a&region=b", "gives the option region twice", ""),
        ("s3://bucket?endpoint=127.0.0.1:8333", "no address of a server", "http://"),
        ("s3://bucket?endpoint=http://host:99999", "no address of a server", "http://"),
        ("s3://bucket?endpoint=ftp://host", "no address of a server", "http://"),
        ("s3://bucket?endpoint=http://host?x=1", "neither a query nor", ""),
        ("s3://bucket?cache=/tmp/x", "belongs to this machine", "RENKU_STORE_CACHE"),
        ("s3://bucket?concurrency=3", "belongs to this machine", ""),
        ("s3://bucket?anonymous=true&profile=me", "a profile has no use", ""),
        ("s3://bucket?verify=false&ca=/x", "ca has no use", ""),
    ],
)
def test_each_mistake_has_a_sentence(url: str, message: str, hint: str) -> None:
    """Which names the thing, and says what would be right."""
    with pytest.raises(InvalidValueError) as error:
        place(url)
    assert message in error.value.message
    assert error.value.message.endswith(".")
    assert hint in error.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"path_style": "perhaps"},
        {"verify": 1},
        {"region": 7},
        {"endpoint": ""},
        {"concurrency": 0},
        {"concurrency": True},
    ],
)
def test_options_of_another_type_are_refused(options: dict[str, Any]) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidValueError):
        place("s3://bucket", **options)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"s3://AKIA:{SECRET}@bucket/videos", {}),
        (f"s3://{SECRET}@bucket", {}),
        (f"s3://bucket?secret_access_key={SECRET}", {}),
        (f"s3://bucket?AWS_SECRET_ACCESS_KEY={SECRET}", {}),
        (f"s3://bucket?key={SECRET}", {}),
        (f"s3://bucket?session_token={SECRET}", {}),
        (f"s3://bucket?X-Amz-Signature={SECRET}", {}),
        (f"s3://bucket?endpoint=http://me:{SECRET}@host", {}),
        (f"s3://bucket?endpoint=http://host?token={SECRET}", {}),
        ("s3://bucket", {"secret": SECRET}),
        ("s3://bucket", {"password": SECRET}),
    ],
)
def test_credentials_are_refused_and_never_shown(url: str, options: dict[str, Any]) -> None:
    """Neither in the URL nor as options; the hint says where they belong."""
    with pytest.raises(InvalidValueError) as error:
        place(url, **options)
    assert SECRET not in error.value.message + error.value.hint
    assert "credential" in error.value.message or "neither a query" in error.value.message


_PARTS = st.text("abcXYZ019-_ü", min_size=1, max_size=8)


@given(bucket=st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}", fullmatch=True), parts=st.lists(_PARTS, max_size=4))
def test_the_url_of_a_place_names_the_place(bucket: str, parts: list[str]) -> None:
    """Whatever bucket and prefix are, reading the URL again gives the same."""
    prefix = "/".join(parts)
    found = place(f"s3://{bucket}/{prefix}")
    assert (found.bucket, found.prefix) == (bucket, prefix)
    assert place(found.url) == found


@given(st.text())
def test_any_text_is_a_place_or_a_named_error(text: str) -> None:
    """Nothing else comes out, and no place without a bucket."""
    try:
        found = place(f"s3://{text}")
    except InvalidValueError:
        return
    assert found.bucket
